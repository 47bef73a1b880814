// Numbers for people. What is null is "unknown", never 0.

export const UNKNOWN = "unknown";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const moment = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });

const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);

/** 12,345 */
export const count = (value) => (known(value) ? whole.format(value) : UNKNOWN);

/** 12.3K */
export const compact = (value) => (known(value) ? short.format(value) : UNKNOWN);

/** "1 step", "12,345 steps" */
export const plural = (value, one, many = `${one}s`) => (known(value) ? `${count(value)} ${value === 1 ? one : many}` : `${UNKNOWN} ${many}`);

/** $0.0123; two digits that mean something, whatever the size. */
export function dollars(value) {
  if (!known(value)) return UNKNOWN;
  const size = Math.abs(value);
  const digits = size === 0 || size >= 1 ? 2 : Math.min(8, 1 - Math.floor(Math.log10(size)));
  return `${value < 0 ? "−" : ""}$${size.toFixed(Math.max(2, digits))}`;
}

/** 850 ms, 12.4 s, 3 min 20 s, 2 h 5 min */
export function duration(milliseconds) {
  if (!known(milliseconds)) return UNKNOWN;
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** How long from one RFC 3339 time to another. */
export const between = (from, to) => (from && to ? duration(Date.parse(to) - Date.parse(from)) : UNKNOWN);

/** 21 Nov 2026, 14:05, in the reader's own zone. */
export const time = (text) => (text ? clock.format(new Date(text)) : UNKNOWN);

/** 14:05:09.123 */
export const timeOfDay = (milliseconds) => (known(milliseconds) ? moment.format(new Date(milliseconds)) : UNKNOWN);

/** 3 min ago */
export function ago(text, now = Date.now()) {
  if (!text) return UNKNOWN;
  const seconds = Math.max(0, (now - Date.parse(text)) / 1000);
  if (seconds < 45) return "just now";
  if (seconds < 3600) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  if (seconds < 2592000) return `${Math.round(seconds / 86400)} d ago`;
  return time(text);
}

/** 93.4% */
export const percent = (share) => (known(share) ? `${(100 * share).toFixed(share === 1 || share === 0 ? 0 : 1)}%` : UNKNOWN);

/** "model_calls" as "model calls" */
export const words = (name) => String(name).replaceAll("_", " ");

/** A metric of the API in one word, with its unit. */
export function metricValue(metric) {
  const { value, unit } = metric;
  if (Array.isArray(value)) return value.length ? value.map(words).join(", ") : "none";
  if (!known(value)) return UNKNOWN;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (/usd|dollar/i.test(unit)) return dollars(value);
  if (/^(percent|%)/i.test(unit)) return `${value.toFixed(1)}%`;
  if (/rate|share|ratio/i.test(unit)) return percent(value);
  if (/^(ms|milliseconds)$/i.test(unit)) return duration(value);
  if (/^(s|seconds)$/i.test(unit)) return duration(1000 * value);
  return Number.isInteger(value) ? count(value) : value.toPrecision(3);
}
