// The information desk of a ferry for promptfoo: one class, of which the configuration makes three desks.
const KNOWN = {
  "desk-v1": ["first ferry", "last ferry", "bicycle", "dog", "night boat", "umbrellas", "ramp"],
  "desk-v2": ["first ferry", "dog"],
  "desk-closed": ["first ferry"],
};
const FACTS = {
  "first ferry": "06:10",
  "last ferry": "22:40",
  bicycle: "4 crowns",
  dog: "free",
  "night boat": "pier 3",
  umbrellas: "the harbour office",
  storm: "above 9 Beaufort",
  ramp: "the Tern",
};

module.exports = class Desk {
  constructor(options) {
    this.desk = options.config.desk;
  }

  id() {
    return this.desk;
  }

  async callApi(prompt) {
    if (this.desk === "desk-closed" && !prompt.includes("first")) {
      return { error: "503 the desk is closed" };
    }
    const topic = KNOWN[this.desk].find((one) => prompt.includes(one));
    const output = topic ? `It is ${FACTS[topic]}.` : "I do not know.";
    const [sent, received] = [prompt, output].map((text) => text.split(" ").length);
    return {
      output,
      cost: received / 1000,
      tokenUsage: { total: sent + received, prompt: sent, completion: received },
    };
  }
};
