// What is changed: heads and MLPs off, steering, and the list of edits in force.

class Changes {
  constructor(tell) {
    const { node } = panel("Change", "nsm-changes");
    this.node = node;
    this.tell = tell;
    this.how = "zero";
    const ways = element("div", "nsm-line", undefined, { role: "radiogroup", "aria-label": "switch off by" });
    ways.append(element("span", "nsm-caption", "Off by"));
    this.ways = ["zero", "mean"].map((how) => {
      const way = pressable(how, "nsm-segment", () => this.choose(how));
      way.setAttribute("role", "radio");
      ways.append(way);
      return way;
    });
    this.ways[1].title = "the mean over this prompt's own tokens";
    roving(ways, () => this.ways, (key, at) => (key.startsWith("Arrow") ? 1 - at : null), (at) =>
      this.choose(["zero", "mean"][at]),
    );
    const head = element("div", "nsm-line");
    this.head = pressable("", "nsm-switch", () => this.toggle(...this.state.selected));
    head.append(element("span", "nsm-caption", "Head"), this.head);
    this.mlps = element("div", "nsm-line nsm-wrap", undefined, { role: "group", "aria-label": "MLPs" });
    this.steer = new Steer(tell);
    const listed = element("div", "nsm-line");
    this.clear = pressable("Undo all", "nsm-quiet", () => tell({ do: "clear" }));
    this.none = element("span", "nsm-none", "nothing: the model as it is");
    listed.append(element("span", "nsm-caption", "In force"), this.clear, this.none);
    this.list = element("ul", "nsm-edits");
    node.append(ways, head, this.mlps, this.steer.node, listed, this.list);
    this.choose("zero");
  }

  choose(how) {
    this.how = how;
    this.ways.forEach((way) => {
      way.setAttribute("aria-checked", String(way.textContent === how));
    });
    focusable(this.ways, this.ways[how === "zero" ? 0 : 1]);
  }

  toggle(layer, head) {
    const key = head === null ? `mlp ${layer}` : `head ${layer}.${head}`;
    const how = this.state.off[key] === this.how ? "" : this.how;
    this.tell({ do: "switch", layer, head, how });
  }

  show(state) {
    this.state = state;
    const [layer, head] = state.selected;
    const off = state.off[`head ${layer}.${head}`];
    this.head.textContent = off ? `${layer}.${head} is off (${off})` : `Switch ${layer}.${head} off`;
    this.head.setAttribute("aria-pressed", String(Boolean(off)));
    if (!this.mlps.childElementCount) {
      this.mlps.append(element("span", "nsm-caption", "MLPs"));
      this.buttons = state.windows.map((_, i) => {
        const one = pressable(String(i), "nsm-chip", () => this.toggle(i, null));
        this.mlps.append(one);
        return one;
      });
    }
    this.buttons.forEach((one, i) => {
      const how = state.off[`mlp ${i}`];
      one.setAttribute("aria-pressed", String(Boolean(how)));
      one.setAttribute("aria-label", `MLP ${i}, ${how ? `off (${how})` : "on"}`);
      one.title = one.getAttribute("aria-label");
    });
    this.steer.show(state);
    this.clear.hidden = !state.changes.length;
    const items = state.changes.map(({ key, label }) => {
      const item = element("li", "nsm-edit");
      const away = pressable("×", "nsm-away", () => this.tell({ do: "remove", key }));
      away.setAttribute("aria-label", `undo ${label}`);
      item.append(token(label, "nsm-edit-label"), away);
      return item;
    });
    this.none.hidden = items.length > 0;
    this.list.replaceChildren(...items);
  }
}

// How often a step is as long as the stream: of any size in a few letters.
function times(ratio) {
  if (!Number.isFinite(ratio)) return "–";
  return ratio < 1000 ? number(ratio, 2) : ratio.toExponential(0);
}

class Steer {
  constructor(tell) {
    this.tell = tell;
    this.node = element("div", "nsm-steer", undefined, { role: "group", "aria-label": "steering" });
    const first = element("div", "nsm-line");
    this.names = element("select", "nsm-select", undefined, { "aria-label": "direction" });
    this.layers = element("select", "nsm-select", undefined, { "aria-label": "layer of the step" });
    first.append(element("span", "nsm-caption", "Steer"), this.names, element("span", "nsm-small", "layer"), this.layers);
    const second = element("div", "nsm-line");
    this.slider = element("input", "nsm-slider", undefined, { type: "range", "aria-label": "length of the step" });
    this.said = element("output", "nsm-number nsm-said");
    second.append(element("span", "nsm-caption", ""), this.slider, this.said);
    this.node.append(first, second);
    this.slider.addEventListener("input", () => this.send());
    this.layers.addEventListener("change", () => {
      this.range();
      if (Number(this.slider.value) !== 0) this.send();
    });
    this.names.addEventListener("change", () => this.read());
  }

  send() {
    this.say();
    this.tell({
      do: "steer",
      name: this.state.directions[this.names.selectedIndex].name,
      layer: Number(this.layers.value),
      scale: Number(this.slider.value),
    });
  }

  range() {
    const most = Math.max(1, Math.ceil(2 * (this.state.norms[Number(this.layers.value)] || 0)));
    Object.assign(this.slider, { min: -most, max: most, step: most / 100 });
  }

  say(scale = Number(this.slider.value)) {
    const norm = this.state.norms[Number(this.layers.value)];
    this.said.textContent = scale ? `${stepLength(scale)} (${times(Math.abs(scale) / norm)} × stream)` : "0";
  }

  // Shows the step that is in force along the chosen direction.
  read() {
    const one = this.state.directions[this.names.selectedIndex];
    const step = this.state.steering.find((other) => other.name === one.name);
    if (step) this.layers.value = step.layer;
    else if (one.layer !== null && this.shown !== one.name) this.layers.value = one.layer;
    this.shown = one.name;
    this.range();
    if (this.slider !== this.slider.getRootNode().activeElement || !step) this.slider.value = step ? step.scale : 0;
    // A step that was set in Python may be longer than the slider goes.
    if (step && Math.abs(step.scale) > Number(this.slider.max)) this.say(step.scale);
    else this.say();
  }

  show(state) {
    this.state = state;
    this.node.hidden = !state.directions.length;
    if (this.node.hidden) return;
    if (!this.names.options.length) {
      this.names.append(...state.directions.map((one, i) => element("option", "", one.name, { value: i })));
      this.layers.append(...state.windows.map((_, i) => element("option", "", i, { value: i })));
    }
    this.read();
  }
}
