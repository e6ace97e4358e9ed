// The microscope's page. Python says what is shown; what a person does is told to Python.
// Whatever comes from a text is set by textContent or drawn, so that nothing in it is ever markup.

function element(tag, className = "", text = undefined, attributes = {}) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function pressable(label, className, press) {
  const node = element("button", `nsm-button ${className}`, label);
  node.type = "button";
  node.addEventListener("click", press);
  return node;
}

let named = 0;

function panel(title, className) {
  const node = element("section", `nsm-panel ${className}`);
  const heading = element("h3", "nsm-title", title);
  heading.id = `nsm-title-${++named}`;
  node.setAttribute("aria-labelledby", heading.id);
  node.append(heading);
  return { node, heading };
}

// A token between its neighbours: its own direction must not turn theirs.
function token(text, className = "nsm-word") {
  return element("bdi", className, text);
}

// Bytes come as a DataView; some hosts hand over the buffer itself.
function asBytes(value) {
  if (!value) return new Uint8Array(0);
  if (value.buffer) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  return new Uint8Array(value);
}

function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return value.toFixed(digits).replace("-", "−");
}

// A probability: small ones by their size.
function chance(value) {
  if (value === null || value === undefined) return "–";
  return value >= 0.001 || value === 0 ? value.toFixed(3) : value.toExponential(0).replace("-", "−");
}

function signedNumber(value, digits = 2) {
  return (value > 0 ? "+" : "") + number(value, digits);
}

// The length of a step as the list of edits writes it.
function stepLength(scale) {
  const size = Math.abs(scale);
  if (size >= 0.005 && size < 1e4) return signedNumber(scale);
  return (scale > 0 ? "+" : "") + String(Number(scale.toPrecision(3))).replace("-", "−");
}

// JupyterLab takes keys for commands on cells while they bubble up, x for cutting the cell: none
// leaves the widget, but for saving.
function keepKeys(root, act) {
  root.addEventListener("keydown", (event) => {
    const save = (event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "s";
    if (!save) event.stopPropagation();
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat;
    // Letters are text in a box, and choose in a list.
    if (plain && !event.defaultPrevented && !event.target.closest("textarea, select")) act(event);
  });
}

// One focusable child at a time; arrow keys move on. `step` says how far a key goes.
function roving(root, children, step, moved) {
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const list = children();
    const at = list.indexOf(event.target);
    if (at < 0) return;
    const to = step(event.key, at, list.length);
    if (to === null || to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const next = list[Math.max(0, Math.min(list.length - 1, to))];
    focusable(list, next);
    next.focus();
    moved(list.indexOf(next));
  });
}

function focusable(list, chosen) {
  for (const one of list) one.tabIndex = one === chosen ? 0 : -1;
}
