// What is read: the selected head's pattern, the lens, what comes next and the loss.

class Pattern {
  constructor(look) {
    const { node, heading } = panel("Pattern", "nsm-pattern");
    this.node = node;
    this.heading = heading;
    this.host = element("div", "nsm-host");
    this.cells = new Cells({
      rest: "Rows look at columns. Hover, or use the arrow keys.",
      say: (row, column) => this.say(row, column),
      look: (at) => look(at ? at[0] : null),
    });
    this.cells.watch(this.host);
    this.host.append(this.cells.canvas);
    node.append(this.host, this.cells.readout);
  }

  say(row, column) {
    const words = this.state.tokens;
    const at = (i) => `${i}\u00a0\u2068${words[i]}\u2069`;
    if (column > row) return `${at(row)} cannot see ${at(column)}: it comes later`;
    if (this.window && row - column >= this.window) {
      return `${at(row)} cannot see ${at(column)}: beyond the window of ${this.window}`;
    }
    return `${at(row)} looks at ${at(column)}: ${number(this.bytes[row * words.length + column] / 255, 2)}`;
  }

  show(state, bytes, theme) {
    this.state = state;
    this.bytes = bytes;
    const [layer, head] = state.selected;
    const window = (this.window = state.windows[layer]);
    const n = state.tokens.length;
    const table = NSM_TABLES[theme].share;
    const kind = window ? `local, window ${window}` : "global";
    const off = state.off[`head ${layer}.${head}`];
    this.heading.textContent = `Head ${layer}.${head} (${kind})${off ? `, off: ${off}` : ""}`;
    this.cells.show({
      rows: n,
      columns: n,
      window,
      rowLabels: state.tokens.map((one) => one.slice(0, 14)),
      columnLabels: state.tokens.map((one) => one.slice(0, 14)),
      label: `attention pattern of head ${layer}.${head}, ${kind}, ${n} by ${n} tokens; arrow keys read it cell by cell`,
      colour: (row, column) => {
        if (column > row || (window && row - column >= window)) return null;
        const at = 3 * bytes[row * n + column];
        return [table[at], table[at + 1], table[at + 2]];
      },
    });
  }
}

class Lens {
  constructor() {
    const { node, heading } = panel("Layer by layer", "nsm-lens");
    this.node = node;
    this.heading = heading;
    this.table = element("table", "nsm-table");
    this.note = element("p", "nsm-note");
    node.append(this.table, this.note);
  }

  show(state) {
    const lens = state.lens;
    const at = `${state.position}\u00a0\u2068${state.tokens[state.position]}\u2069`;
    this.heading.textContent = `What each layer says after ${at}`;
    const body = element("tbody");
    const head = element("tr");
    for (const name of ["layer", `${lens.name} lens`, "probability"]) {
      head.append(element("th", "", name, { scope: "col" }));
    }
    for (const row of lens.rows) {
      const line = element("tr");
      line.append(element("th", "nsm-narrow", row.label, { scope: "row" }));
      const word = element("td");
      word.append(token(row.token));
      const cell = element("td");
      const gauge = element("div", "nsm-gauge");
      const track = element("span", "nsm-track");
      track.append(bar(row.probability, "nsm-bar-after"));
      gauge.append(track, element("span", "nsm-number", chance(row.probability)));
      cell.append(gauge);
      line.append(word, cell);
      body.append(line);
    }
    const top = element("thead");
    top.append(head);
    this.table.replaceChildren(top, body);
    this.note.textContent = lens.caveat ? "The plain lens is known to fail on GPT-Neo's early layers." : "";
    this.note.title = lens.caveat;
  }
}

function bar(share, className) {
  const node = element("span", `nsm-bar ${className}`, undefined, { "aria-hidden": "true" });
  node.style.setProperty("--nsm-share", `${(100 * share).toFixed(2)}%`);
  return node;
}

class Next {
  constructor() {
    const { node, heading } = panel("What comes next", "nsm-next");
    this.node = node;
    this.heading = heading;
    this.loss = element("p", "nsm-loss");
    this.table = element("table", "nsm-table");
    node.append(this.loss, this.table);
  }

  show(state) {
    const edited = state.changes.length > 0;
    this.heading.textContent = `What comes next after ${state.position}\u00a0\u2068${state.tokens[state.position]}\u2069`;
    const { before, after } = state.loss;
    if (state.tokens.length === 1) {
      this.loss.textContent = "Loss: one token predicts nothing that is there.";
    } else if (!edited) {
      this.loss.textContent = `Loss ${number(before, 4)} nats a token, unedited.`;
    } else {
      this.loss.textContent = `Loss ${number(before, 4)} → ${number(after, 4)} nats a token (${before === null || after === null ? "–" : signedNumber(after - before, 4)}).`;
    }
    const head = element("tr");
    for (const name of ["token", "", "unedited", ...(edited ? ["edited"] : [])]) {
      head.append(element("th", name === "token" ? "" : "nsm-right", name, { scope: "col" }));
    }
    const top = element("thead");
    top.append(head);
    const body = element("tbody");
    for (const row of state.next) {
      const line = element("tr");
      const word = element("th", "nsm-cut", undefined, { scope: "row" });
      word.append(token(row.token));
      const bars = element("td", "nsm-bars");
      bars.append(bar(row.before, edited ? "nsm-bar-before" : "nsm-bar-after"));
      if (edited) bars.append(bar(row.after, "nsm-bar-after"));
      line.append(word, bars, element("td", "nsm-number nsm-right", chance(row.before)));
      if (edited) line.append(element("td", "nsm-number nsm-right", chance(row.after)));
      body.append(line);
    }
    this.table.replaceChildren(top, body);
  }
}
