// Every view: its module is fetched when it is first shown, and exports `show(root, {parts, query, signal})`.

export const VIEWS = {
  missions: { title: "Missions", inMenu: true, alsoFor: ["mission"], load: () => import("./missions.js") },
  mission: { title: "Mission", load: () => import("./mission.js") },
  compare: { title: "Compare", inMenu: true, load: () => import("./compare.js") },
  runs: { title: "Runs", inMenu: true, load: () => import("./runs.js") },
  trends: { title: "Trends", inMenu: true, load: () => import("./trends.js") },
  baselines: { title: "Baselines", inMenu: true, load: () => import("./baselines.js") },
  sources: { title: "Sources", inMenu: true, load: () => import("./sources.js") },
  settings: { title: "Settings", inMenu: true, load: () => import("./settings.js") },
};
