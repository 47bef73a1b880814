// Every view: its module is fetched when it is first shown, and exports `show(root, {parts, query, signal})`.

export const VIEWS = {
  missions: { title: "Missions", inMenu: true, alsoFor: ["mission"], load: () => import("./missions.js") },
  mission: { title: "Mission", load: () => import("./mission.js") },
};
