// A second prompt, and a map of what each of its places does in the first: a click patches it.

class Patching {
  constructor(tell) {
    const { node } = panel("Patch from another prompt", "nsm-patching");
    this.node = node;
    this.tell = tell;
    this.box = new PromptBox("other prompt", "another prompt, token for token as long", (text) =>
      tell({ do: "other", text }),
    );
    const line = element("div", "nsm-line");
    line.append(element("span", "nsm-caption", "Map"));
    this.buttons = [
      ["resid_post", "stream"],
      ["z", "heads"],
    ].map(([site, label]) => {
      const one = pressable(label, "nsm-segment", () => {
        this.box.send();
        this.said.textContent = "measuring…";
        tell({ do: "map", site });
      });
      one.title = site === "z" ? "every head at all positions" : "the residual stream after each layer, by position";
      one.dataset.site = site;
      line.append(one);
      return one;
    });
    this.said = element("p", "nsm-note");
    this.host = element("div", "nsm-host");
    this.cells = new Cells({
      rest: "",
      say: (row, column) => this.say(row, column),
      pick: (row, column) => this.pick(row, column),
    });
    this.cells.watch(this.host);
    this.cells.canvas.classList.add("nsm-clickable");
    this.host.append(this.cells.canvas);
    this.legend = element("div");
    node.append(this.box.node, line, this.said, this.host, this.legend, this.cells.readout);
  }

  progress({ done, total }) {
    this.said.textContent = `measuring… ${done} of ${total} patched runs`;
  }

  place(row, column) {
    const map = this.state.map;
    if (map.site === "z") return { layer: row, head: column, span: null };
    return { layer: row, head: null, span: map.spans[column] };
  }

  pick(row, column) {
    this.tell({ do: "patch", ...this.place(row, column) });
  }

  effect(row, column) {
    const byte = this.bytes[row * this.state.map.columns + column];
    return byte ? ((byte - 128) / 127) * this.state.map.largest : NaN;
  }

  say(row, column) {
    const { head, span } = this.place(row, column);
    const where = head !== null ? `head ${row}.${head}` : `layer ${row}, ${this.column(span)}`;
    const on = this.marked(row, column) ? " (in force)" : "";
    return `${where}: ${signedNumber(this.effect(row, column))} logits${on}`;
  }

  column(span) {
    const words = span[1] - span[0];
    if (words > 1) return `positions ${span[0]} to ${span[1] - 1}`;
    return `${span[0]}\u00a0\u2068${this.state.tokens[span[0]]}\u2069`;
  }

  marked(row, column) {
    const place = this.place(row, column);
    const site = this.state.map.site;
    return this.state.patched.some(
      (one) => one.site === site && one.layer === place.layer && one.head === place.head && String(one.span) === String(place.span),
    );
  }

  show(state, bytes, theme) {
    this.state = state;
    this.bytes = bytes;
    this.box.show(state.other);
    const map = state.map;
    for (const one of this.buttons) {
      one.setAttribute("aria-pressed", String(Boolean(map) && map.site === one.dataset.site));
    }
    this.host.hidden = this.cells.readout.hidden = this.legend.hidden = !map;
    if (!map) {
      this.said.textContent = state.other ? "Choose what to map." : "Write a prompt with another answer, then map what carries the difference.";
      return;
    }
    const names = [`\u2068${map.answer}\u2069`, `\u2068${map.wrong}\u2069`];
    this.said.textContent = `Effect of each patch on logit ${names[0]} − ${names[1]}, in the unedited model; the prompts are ${number(map.gap, 2)} apart. A click patches.`;
    const table = NSM_TABLES[theme].signed;
    const most = number(map.largest, 2);
    this.legend.replaceChildren(legend("signed", `−${most}`, `+${most} logits`, theme));
    const marks = [];
    for (let row = 0; row < map.rows; row++) {
      for (let column = 0; column < map.columns; column++) {
        if (this.marked(row, column)) marks.push([row, column]);
      }
    }
    const byHead = map.site === "z";
    this.cells.show({
      rows: map.rows,
      columns: map.columns,
      aspect: byHead ? 1 : 1.2,
      highest: 24,
      marks,
      rowLabels: state.windows.map((_, i) => `layer ${i}`),
      columnLabels: byHead
        ? Array.from({ length: map.columns }, (_, i) => `head ${i}`)
        : map.spans.map((span) => (span[1] - span[0] > 1 ? `${span[0]}–${span[1] - 1}` : state.tokens[span[0]].slice(0, 14))),
      label: `map of patches, ${map.rows} layers by ${map.columns} ${byHead ? "heads" : "positions"}, largest effect ${number(map.largest, 2)} logits; arrow keys read it, Enter patches`,
      colour: (row, column) => {
        const byte = bytes[row * map.columns + column];
        if (!byte) return null;
        const at = 3 * Math.round(((byte - 1) / 254) * 255);
        return [table[at], table[at + 1], table[at + 2]];
      },
    });
  }
}
