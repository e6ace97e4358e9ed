// Thumbnails of every head: layers as rows, one scale for all.

class Heads {
  constructor(tell) {
    const { node, heading } = panel("Heads", "nsm-heads");
    this.node = node;
    this.heading = heading;
    this.tell = tell;
    this.grid = element("div", "nsm-grid", undefined, { role: "grid", "aria-label": "heads" });
    this.legend = element("div");
    node.append(
      this.grid,
      this.legend,
      element("p", "nsm-note", "Rows are layers. Click or arrow keys select a head, x switches it off."),
    );
    this.list = [];
    const step = (key, at) => {
      const heads = this.state.heads;
      const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -heads, ArrowDown: heads };
      if (!(key in moves)) return null;
      const to = at + moves[key];
      return to < 0 || to >= this.list.length ? at : to;
    };
    roving(this.grid, () => this.list, step, (at) => this.select(at));
    this.grid.addEventListener("click", (event) => {
      const at = this.list.indexOf(event.target.closest(".nsm-head"));
      if (at >= 0) this.select(at);
    });
  }

  select(at) {
    this.tell({ do: "select", layer: Math.floor(at / this.state.heads), head: at % this.state.heads });
  }

  build(state) {
    const rows = state.windows.map((window, layer) => {
      const row = element("div", "nsm-row", undefined, { role: "row" });
      const name = element("span", "nsm-layer", String(layer), { role: "rowheader" });
      name.setAttribute("aria-label", `layer ${layer}${window ? `, local, window ${window}` : ", global"}`);
      name.append(element("small", "nsm-kind", window ? `local ${window}` : "global"));
      row.append(name);
      for (let head = 0; head < state.heads; head++) {
        const cell = element("button", "nsm-head", undefined, { role: "gridcell", tabindex: "-1" });
        cell.type = "button";
        cell.append(element("canvas", "nsm-thumb", undefined, { "aria-hidden": "true" }));
        row.append(cell);
      }
      return row;
    });
    this.grid.style.setProperty("--nsm-heads", state.heads);
    this.node.classList.toggle("nsm-wide", state.heads > 8);
    this.grid.replaceChildren(...rows);
    this.list = [...this.grid.querySelectorAll(".nsm-head")];
  }

  show(state, thumbs, theme) {
    this.state = state;
    if (!this.list.length) this.build(state);
    const { thumb: size, heads } = state;
    const drawn = `${theme} ${size}`;
    this.legend.replaceChildren(legend("share", "attention 0", "1", theme));
    const fresh = this.thumbs !== thumbs || this.drawn !== drawn;
    this.thumbs = thumbs;
    this.drawn = drawn;
    const bytes = asBytes(thumbs);
    const [layer, head] = state.selected;
    this.list.forEach((cell, i) => {
      const at = [Math.floor(i / heads), i % heads];
      const chosen = at[0] === layer && at[1] === head;
      const off = state.off[`head ${at[0]}.${at[1]}`];
      const name = `head ${at[0]}.${at[1]}${off ? `, off (${off})` : ""}`;
      cell.classList.toggle("nsm-head-selected", chosen);
      cell.classList.toggle("nsm-head-off", Boolean(off));
      cell.setAttribute("aria-label", name);
      cell.setAttribute("aria-selected", String(chosen));
      cell.title = name;
      if (fresh) this.draw(cell.firstChild, bytes.subarray(i * size * size, (i + 1) * size * size), size, theme);
    });
    if (!this.list.some((one) => one === one.getRootNode().activeElement)) {
      focusable(this.list, this.list[layer * heads + head]);
    }
  }

  draw(canvas, bytes, size, theme) {
    const table = NSM_TABLES[theme].share;
    canvas.width = canvas.height = size;
    const image = new ImageData(size, size);
    for (let i = 0; i < bytes.length; i++) {
      // Nothing to the right of the diagonal can be seen: it stays empty.
      const masked = i % size > Math.floor(i / size);
      const at = 3 * bytes[i];
      image.data.set([table[at], table[at + 1], table[at + 2], masked ? 0 : 255], 4 * i);
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }
}
