// The prompt's tokens: hovering or focusing one shows where it looks and who looks at it.

class Tokens {
  constructor(tell) {
    this.node = element("div", "nsm-tokens", undefined, {
      role: "listbox",
      "aria-label": "tokens; Enter selects one",
      "aria-orientation": "horizontal",
    });
    this.hint = element("div", "nsm-hint", "", { "aria-live": "polite" });
    this.list = [];
    this.active = null;
    this.observer = new ResizeObserver(() => this.reveal());
    this.observer.observe(this.node);
    const keys = { ArrowLeft: -1, ArrowRight: 1 };
    roving(
      this.node,
      () => this.list,
      (key, at, n) => (key === "Home" ? 0 : key === "End" ? n - 1 : key in keys ? at + keys[key] : null),
      (at) => this.activate(at),
    );
    const of = (event) => this.list.indexOf(event.target.closest(".nsm-token"));
    this.node.addEventListener("mouseover", (event) => {
      if (of(event) >= 0) this.activate(of(event));
    });
    this.node.addEventListener("mouseleave", () => this.activate(null));
    this.node.addEventListener("focusin", (event) => this.activate(of(event)));
    this.node.addEventListener("focusout", () => this.activate(null));
    const select = (at) => at >= 0 && tell({ do: "position", position: at });
    this.node.addEventListener("click", (event) => select(of(event)));
    this.node.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      select(of(event));
    });
  }

  show(state, pattern, theme) {
    this.state = state;
    this.pattern = pattern;
    this.table = NSM_TABLES[theme].share;
    const words = state.tokens;
    if (words.join("\n") !== this.words) {
      this.words = words.join("\n");
      this.list = words.map((word) => {
        const node = element("span", "nsm-token", undefined, { role: "option" });
        node.append(token(word, "nsm-token-text"));
        return node;
      });
      this.node.replaceChildren(...this.list);
      this.active = null;
    }
    this.list.forEach((node, i) => {
      const chosen = i === state.position;
      node.classList.toggle("nsm-token-selected", chosen);
      node.setAttribute("aria-selected", String(chosen));
      node.title = `position ${i}`;
    });
    if (!this.list.some((one) => one === one.getRootNode().activeElement)) {
      focusable(this.list, this.list[state.position]);
    }
    this.paint();
    if (this.selected !== `${state.position} ${this.words}`) {
      this.selected = `${state.position} ${this.words}`;
      this.reveal();
    }
  }

  // Scrolls to the selected token; again when the list gets another size, first of all on screen.
  reveal() {
    if (!this.list.length || !this.node.clientHeight) return;
    const [node, box] = [this.list[this.state.position], this.node];
    const top = node.offsetTop; // from the list's own edge: it is positioned
    if (top < box.scrollTop || top > box.scrollTop + box.clientHeight - 30) {
      box.scrollTop = top - box.clientHeight / 2;
    }
  }

  activate(at) {
    const next = at === null || at < 0 ? null : at;
    if (next === this.active) return;
    this.active = next;
    this.paint();
  }

  share(query, key) {
    return this.pattern[query * this.list.length + key];
  }

  paint() {
    const centre = this.active === null ? this.state.position : this.active;
    this.list.forEach((node, i) => {
      const looks = i <= centre ? this.share(centre, i) : 0;
      const looked = i >= centre ? this.share(i, centre) : 0;
      node.style.background = looks > 2 ? cssColour(this.table, looks) : "";
      node.style.color = looks > 2 ? (isLight(this.table, looks) ? "#10161e" : "#ffffff") : "";
      // As a bar below, so that it does not hang on the colour.
      node.style.setProperty("--nsm-looked", looked > 2 ? `${Math.round((looked / 255) * 100)}%` : "0%");
      node.classList.toggle("nsm-token-active", i === centre);
    });
    const [layer, head] = this.state.selected;
    const best = (values) =>
      values
        .map((share, i) => [share, i])
        .filter(([share]) => share > 5)
        .sort((a, b) => b[0] - a[0])
        .slice(0, 3)
        .map(([share, i]) => `${i}\u00a0\u2068${this.state.tokens[i]}\u2069 ${number(share / 255, 2)}`)
        .join(", ");
    const all = this.list.map((_, i) => i);
    const to = best(all.map((i) => this.share(centre, i)));
    const from = best(all.map((i) => (i > centre ? this.share(i, centre) : 0)));
    const name = `${centre}\u00a0\u2068${this.state.tokens[centre]}\u2069`;
    const said = (key, text) => {
      const node = element("span", "nsm-said-of");
      node.append(element("span", `nsm-key ${key}`), element("span", "", text));
      return node;
    };
    this.hint.replaceChildren(
      said("nsm-key-fill", `In head ${layer}.${head}, ${name} looks at: ${to || "all a little"}`),
      said("nsm-key-bar", `looked at by: ${from || "no later token"}`),
    );
  }
}
