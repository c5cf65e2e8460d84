// The server at a glance, at the foot of the list: its memory, its speed in the last minute, who waits.

import { door, status } from "./api.js";
import { byId } from "./dom.js";
import { bytes, put } from "./i18n.js";

const HIGH = 15; // of the line, in its own units

/** Look whenever `readiness` has looked, as long as the list is seen. */
export function showPanel(readiness) {
  const panel = byId("panel");
  let locked = false; // a key is needed: asked for once, not every few seconds
  const look = async () => {
    if (locked || !panel.parentElement.checkVisibility() || readiness.now.state === "unreachable") return;
    try {
      const { memory, speed = [], waiting } = await status();
      draw(speed);
      put(byId("panel-text"), "panel.text", { memory: bytes(memory.rss), speed: speed.at(-1) || null, waiting: waiting || null });
      panel.hidden = false;
    } catch (error) {
      locked = error.status === 401;
    }
  };
  door.addEventListener("opened", () => (locked = false));
  readiness.addEventListener("change", look);
  return look();
}

/** Tokens per second, the newest at the right. */
function draw(speed) {
  const most = Math.max(...speed, 1);
  const points = speed.map((value, at) => `${60 - speed.length + at},${(HIGH * (1 - value / most) + 0.5).toFixed(1)}`);
  byId("panel-line").setAttribute("points", points.join(" "));
}
