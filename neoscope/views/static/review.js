// The review view: shows the text that Python names, and tells Python what was decided of it.
// Whatever comes from a text is set by textContent alone, so that nothing in it is ever markup.

function element(tag, className, text) {
  const node = document.createElement(tag);
  node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function button(label, key, className, press) {
  const node = element("button", `ns-review-button ${className}`, label);
  node.type = "button";
  node.append(element("kbd", "ns-review-key", key));
  node.addEventListener("click", press);
  return node;
}

function facts(item) {
  const number = (x) => (x === null || x === undefined ? "–" : Number(x).toPrecision(3));
  return [
    ["class", item.reject],
    ["score", number(item.score)],
    ["withheld from", number(item.threshold)],
    ["reason", item.reason],
    ["withheld at", item.withheld_at],
  ];
}

function render({ model, el }) {
  const root = element("div", "ns-review");
  root.tabIndex = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Review of withheld texts");

  const progress = element("progress", "ns-review-progress");
  const counts = element("div", "ns-review-counts");
  counts.setAttribute("aria-live", "polite");
  const list = element("dl", "ns-review-facts");
  const text = element("div", "ns-review-text");
  text.dir = "auto";
  text.setAttribute("aria-live", "polite");
  const note = element("input", "ns-review-note");
  note.type = "text";
  note.placeholder = "note (optional)";
  note.setAttribute("aria-label", "note");
  const error = element("div", "ns-review-error");
  error.setAttribute("role", "alert");

  // A second key press must wait until the first has been answered.
  let waiting = false;
  const tell = (message) => {
    if (waiting) return;
    waiting = true;
    model.send(message);
  };
  const decide = (what) => {
    const item = model.get("state").item;
    if (item) tell({ do: what, id: item.id, note: note.value });
  };
  const actions = {
    k: () => decide("keep"),
    d: () => decide("drop"),
    u: () => tell({ do: "undo" }),
  };
  const buttons = element("div", "ns-review-buttons");
  const keep = button("Keep", "k", "ns-review-keep", actions.k);
  const drop = button("Drop", "d", "ns-review-drop", actions.d);
  const undo = button("Undo", "u", "ns-review-undo", actions.u);
  buttons.append(keep, drop, undo, note);
  root.append(progress, counts, text, list, buttons, error);

  root.addEventListener("keydown", (event) => {
    // JupyterLab takes keys for commands on cells while they bubble up: d twice deletes one.
    const save = (event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "s";
    if (!save) event.stopPropagation();
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target === note) {
      if (event.key === "Escape" || event.key === "Enter") root.focus();
      return;
    }
    const action = actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  });

  let shown = null;
  const show = () => {
    waiting = false;
    const state = model.get("state");
    const item = state.item;
    const done = state.total - state.pending;
    progress.max = Math.max(1, state.total);
    progress.value = state.total ? done : 1;
    counts.textContent =
      `${done} of ${state.total} decided: ${state.kept} kept, ${state.dropped} dropped`;
    error.textContent = state.error || "";
    keep.disabled = drop.disabled = note.disabled = !item;
    undo.disabled = done === 0;
    list.replaceChildren();
    text.classList.toggle("ns-review-empty", !item || item.text === "");
    if (!item) {
      text.textContent = state.total ? "Every text is decided." : "Nothing was withheld.";
    } else {
      text.textContent = item.text === "" ? "(an empty text)" : item.text;
      for (const [name, value] of facts(item)) {
        list.append(element("dt", "", name), element("dd", "", value));
      }
    }
    const id = item ? item.id : null;
    if (id !== shown) {
      note.value = "";
      text.scrollTop = 0;
      shown = id;
    }
  };
  model.on("change:state", show);
  model.on("change:turn", show);
  show();
  el.append(root);
  return () => {
    model.off("change:state", show);
    model.off("change:turn", show);
  };
}

export default { render };
