// Colours: the house's ramps, on a light card and on a dark one, wherever the page stands.

const NSM_RAMPS = {
  light: {
    share: ["#f7fafc", "#d3e6ee", "#8cc3d3", "#4596b5", "#1f648f", "#123f66", "#0a2440"],
    signed: ["#7a3203", "#b35806", "#f1a340", "#fbdcb0", "#f7f7f7", "#c4dcea", "#67a9cf", "#2166ac", "#0b3763"],
  },
  dark: {
    share: ["#1c222c", "#16405c", "#1f648f", "#4596b5", "#8cc3d3", "#d3e6ee", "#f7fafc"],
    signed: ["#ffe0b8", "#f8b45e", "#c9721a", "#6b3d12", "#252b35", "#1d4469", "#2f7fc1", "#8cc6ec", "#e2f1fb"],
  },
};

function rgb(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

// A table of 256 colours along a ramp.
function ramp(stops) {
  const colours = stops.map(rgb);
  const table = new Uint8ClampedArray(256 * 3);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (colours.length - 1);
    const low = Math.min(Math.floor(at), colours.length - 2);
    for (let k = 0; k < 3; k++) {
      table[3 * i + k] = colours[low][k] + (at - low) * (colours[low + 1][k] - colours[low][k]);
    }
  }
  return table;
}

const NSM_TABLES = Object.fromEntries(
  Object.entries(NSM_RAMPS).map(([name, ramps]) => [
    name,
    { share: ramp(ramps.share), signed: ramp(ramps.signed) },
  ]),
);

function cssColour(table, i) {
  return `rgb(${table[3 * i]}, ${table[3 * i + 1]}, ${table[3 * i + 2]})`;
}

// Whether text on this colour has to be dark.
function isLight(table, i) {
  return 0.3 * table[3 * i] + 0.59 * table[3 * i + 1] + 0.11 * table[3 * i + 2] > 135;
}

function legend(kind, low, high, theme) {
  const node = element("div", "nsm-legend");
  const colours = element("span", "nsm-ramp", undefined, { "aria-hidden": "true" });
  colours.style.background = `linear-gradient(to right, ${NSM_RAMPS[theme][kind].join(", ")})`;
  node.append(element("span", "", low), colours, element("span", "", high));
  return node;
}

function darkness(colour) {
  const parts = (colour.match(/[\d.]+/g) || []).map(Number);
  if (parts.length < 3 || parts[3] === 0) return null;
  const scale = colour.startsWith("color(") ? 255 : 1;
  return (0.3 * parts[0] + 0.59 * parts[1] + 0.11 * parts[2]) * scale < 110;
}

// JupyterLab and VS Code say by their variables what stands behind; else the system does.
function watchTheme(root, changed) {
  const media = window.matchMedia("(prefers-color-scheme: dark)");
  const read = () => {
    const probe = getComputedStyle(root).getPropertyValue("--nsm-host").trim();
    let found = null;
    if (probe) {
      const sample = element("span");
      sample.style.color = probe;
      root.append(sample);
      found = darkness(getComputedStyle(sample).color);
      sample.remove();
    }
    const now = (found === null ? media.matches : found) ? "dark" : "light";
    if (root.dataset.theme === now) return;
    root.dataset.theme = now;
    changed(now);
  };
  const observer = new MutationObserver(read);
  for (const node of [document.documentElement, document.body]) {
    observer.observe(node, { attributes: true });
  }
  media.addEventListener("change", read);
  return {
    read,
    stop: () => {
      observer.disconnect();
      media.removeEventListener("change", read);
    },
  };
}
