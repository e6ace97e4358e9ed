// The page: all parts, what they are told, and what they tell.

// A prompt that is sent after a pause in typing, or at once on Enter; typing is never overwritten.
class PromptBox {
  constructor(label, placeholder, send) {
    this.node = element("textarea", "nsm-box", undefined, { "aria-label": label, rows: "1", spellcheck: "false" });
    this.node.placeholder = placeholder;
    this.node.dir = "auto";
    this.width = 0;
    // Its lines are others at another width, and there are none before it is on screen.
    this.observer = new ResizeObserver(() => {
      if (this.node.clientWidth === this.width) return;
      this.width = this.node.clientWidth;
      this.fit();
    });
    this.observer.observe(this.node);
    this.tell = send;
    this.known = "";
    this.node.addEventListener("input", () => {
      this.fit();
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.send(), 500);
    });
    this.node.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.send();
    });
  }

  send() {
    clearTimeout(this.timer);
    if (this.node.value !== this.known && this.node.value !== this.sent) {
      this.sent = this.node.value;
      this.tell(this.node.value);
    }
  }

  fit() {
    const { node } = this;
    if (!node.clientWidth) return;
    node.style.height = "0";
    const style = getComputedStyle(node);
    const [above, below] = [parseFloat(style.paddingTop), parseFloat(style.paddingBottom)];
    const line = parseFloat(style.lineHeight);
    const lines = Math.round((node.scrollHeight - above - below) / line);
    // Whole lines, so that none is cut; the rest is scrolled to, and must not peep out below.
    const long = lines > 6;
    const height = Math.max(1, Math.min(lines, 6)) * line + above + (long ? 0 : below);
    node.style.height = `${(long ? Math.floor(height) : Math.ceil(height)) + 2}px`;
    node.style.overflowY = long ? "auto" : "hidden";
  }

  show(text) {
    const untouched = this.node.value === this.known;
    if (text !== this.known && untouched) this.node.value = text;
    this.known = text;
    if (text === this.node.value) this.sent = undefined;
    this.fit();
  }
}

const PATIENCE = 15000; // ms
const GONE = "The kernel that made this is gone; run the cell again.";
const SILENT = `No answer for ${PATIENCE / 1000} seconds: the kernel is busy, or the one that made this is gone; then run the cell again.`;

// One message at a time; while one is under way, of each kind the last is kept.
function messenger(model, root, silent) {
  let waiting = false;
  let queue = [];
  let timer = null;
  // A kernel that died must not lock the page for good, nor look as if it worked.
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(silent, PATIENCE);
  };
  const send = (message) => {
    waiting = true;
    root.classList.add("nsm-busy");
    alive();
    model.send({ ...message, code: root.dataset.code === "open" });
  };
  const answered = () => {
    clearTimeout(timer);
    waiting = false;
    root.classList.remove("nsm-busy");
    if (queue.length) send(queue.shift());
  };
  const replaces = ["text", "other", "steer", "select", "position"];
  const tell = (message) => {
    if (!waiting) return send(message);
    if (replaces.includes(message.do)) {
      queue = queue.filter((one) => one.do !== message.do || one.name !== message.name);
    }
    queue.push(message);
  };
  // What is under way will not be answered.
  const drop = () => {
    clearTimeout(timer);
    waiting = false;
    queue = [];
    root.classList.remove("nsm-busy");
  };
  // What is said while a long measurement is under way.
  const heard = () => waiting && alive();
  return { tell, answered, drop, heard };
}

function codePanel(root, tell) {
  const node = element("details", "nsm-code");
  const text = element("pre", "nsm-pre", "", { tabindex: "0" });
  const copy = pressable("Copy", "nsm-quiet", async () => {
    await navigator.clipboard.writeText(text.textContent);
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
  node.append(element("summary", "", "The same in Python"), copy, text);
  node.addEventListener("toggle", () => {
    root.dataset.code = node.open ? "open" : "";
    if (node.open) tell({ do: "code" });
  });
  return { node, show: (code) => code !== undefined && (text.textContent = code) };
}

function summary(state) {
  const best = state.next[0];
  const loss = state.loss.after === null ? "" : ` Loss ${number(state.loss.after, 4)} nats, unedited ${number(state.loss.before, 4)}.`;
  const edits = state.changes.length ? `${state.changes.length} edit${state.changes.length === 1 ? "" : "s"} in force.` : "No edits.";
  return `Likeliest next token ${best.token}, ${number(best.after)}, unedited ${number(best.before)}.${loss} ${edits}`;
}

function render({ model, el }) {
  const root = element("div", "nsm", undefined, {
    role: "region",
    "aria-label": "Microscope",
    // A click between the parts must not leave the focus with the notebook's cell.
    tabindex: "-1",
  });
  const error = element("div", "nsm-error", "", { role: "alert", dir: "auto" });
  const notes = element("div", "nsm-warning", "", { role: "status", dir: "auto" });
  // What is wrong on the way to Python, which Python cannot say.
  let [trouble, dead] = ["", false];
  const lost = (why) => {
    messages.drop();
    error.textContent = trouble = why;
  };
  const messages = messenger(model, root, () => lost(SILENT));
  const tell = (message) => (dead ? lost(GONE) : messages.tell(message));
  const head = element("div", "nsm-header");
  const facts = element("span", "nsm-facts");
  head.append(element("h2", "nsm-name", "Microscope"), facts);
  const prompt = new PromptBox("prompt", "a prompt", (text) => tell({ do: "text", text }));
  prompt.node.classList.add("nsm-prompt");
  const live = element("div", "nsm-hidden", "", { "aria-live": "polite" });
  const tokens = new Tokens(tell);
  const changes = new Changes(tell);
  const heads = new Heads(tell);
  const pattern = new Pattern((row) => tokens.activate(row));
  const [lens, next, patching] = [new Lens(), new Next(), new Patching(tell)];
  const code = codePanel(root, tell);
  const main = element("div", "nsm-main");
  main.append(heads.node, pattern.node, lens.node, changes.node, next.node, patching.node);
  root.append(head, prompt.node, error, notes, tokens.node, tokens.hint, main, code.node, live);

  const show = () => {
    const state = model.get("state");
    const theme = root.dataset.theme || "light";
    const bytes = asBytes(model.get("pattern"));
    const words = state.tokens.length;
    facts.textContent = `${state.model} · ${state.windows.length} layers × ${state.heads} heads · ${words} token${words === 1 ? "" : "s"}`;
    prompt.show(state.text);
    error.textContent = trouble || state.error || "";
    notes.textContent = state.notes.join(" ");
    changes.show(state);
    heads.show(state, model.get("thumbs"), theme);
    tokens.show(state, bytes, theme);
    pattern.show(state, bytes, theme);
    lens.show(state);
    next.show(state);
    patching.show(state, asBytes(model.get("effects")), theme);
    code.show(state.code);
    if (live.textContent !== summary(state)) live.textContent = summary(state);
    root.dataset.turn = model.get("turn");
    root.dispatchEvent(new CustomEvent("microscope-drawn", { bubbles: true, detail: root.dataset.turn }));
  };
  const answer = () => {
    [trouble, dead] = ["", false];
    show();
    messages.answered();
  };
  // A kernel that is started anew tells its widgets that they hang on nothing.
  const gone = () => {
    dead = true;
    lost(GONE);
  };
  keepKeys(root, (event) => {
    const onHead = event.key === "Delete" && event.target.closest(".nsm-head");
    if (event.key !== "x" && !onHead) return;
    event.preventDefault();
    changes.toggle(...model.get("state").selected);
  });
  const under = (message) => {
    if (!message || !message.total) return;
    messages.heard();
    patching.progress(message);
  };
  el.append(root);
  const theme = watchTheme(root, show);
  theme.read();
  model.on("change:turn", answer);
  model.on("msg:custom", under);
  model.on("comm_live_update", gone);
  return () => {
    model.off("change:turn", answer);
    model.off("msg:custom", under);
    model.off("comm_live_update", gone);
    messages.drop();
    theme.stop();
    for (const one of [pattern.cells, patching.cells, tokens, prompt, patching.box]) one.observer.disconnect();
  };
}

export default { render };
