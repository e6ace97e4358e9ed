// A canvas of cells with labels: hovered by the mouse, walked through by arrow keys.

const NSM_FONT = "11px ui-monospace, Consolas, Menlo, 'DejaVu Sans Mono', monospace";
const NSM_APART = 12; // pixels between two labels

class Cells {
  // options: look(row, column, known), pick(row, column), describe()
  constructor(options) {
    this.options = options;
    this.canvas = element("canvas", "nsm-cells", undefined, { tabindex: "0", role: "img" });
    this.readout = element("div", "nsm-readout", "", { "aria-live": "polite" });
    this.readout.dir = "auto";
    this.at = null;
    this.data = null;
    const canvas = this.canvas;
    canvas.addEventListener("mousemove", (event) => this.point(this.cell(event)));
    canvas.addEventListener("mouseleave", () => this.point(null));
    canvas.addEventListener("blur", () => this.point(null));
    canvas.addEventListener("click", (event) => {
      const at = this.cell(event);
      if (at && options.pick) options.pick(...at);
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
    this.observer = new ResizeObserver(() => this.draw());
  }

  // data: rows, columns, colour(row, column) -> [r, g, b] or null, rowLabels, columnLabels,
  // aspect (height of a cell over its width), marks: cells to be outlined, window
  show(data) {
    this.data = data;
    this.at = null;
    this.readout.textContent = this.options.rest || "";
    this.canvas.setAttribute("aria-label", data.label);
    this.draw();
  }

  watch(node) {
    this.observer.observe(node);
    this.host = node;
  }

  layout() {
    const { rows, columns, rowLabels, columnLabels } = this.data;
    const context = this.canvas.getContext("2d");
    context.font = NSM_FONT;
    const widest = (labels) =>
      Math.min(86, Math.ceil(Math.max(...labels.map((one) => context.measureText(one).width))));
    const left = widest(rowLabels) + 8;
    const below = widest(columnLabels) + 8;
    const room = Math.max(120, (this.host ? this.host.clientWidth : 320) - left - 4);
    const width = Math.min(room / columns, this.data.widest || 28);
    const height = Math.min(width * (this.data.aspect || 1), this.data.highest || 28);
    return { left, below, width, height, right: left + columns * width, bottom: rows * height };
  }

  draw() {
    if (!this.data || !this.canvas.isConnected) return;
    const { rows, columns, colour } = this.data;
    const box = (this.box = this.layout());
    const scale = window.devicePixelRatio || 1;
    const size = [Math.ceil(box.right + 2), Math.ceil(box.bottom + box.below + 2)];
    this.canvas.width = size[0] * scale;
    this.canvas.height = size[1] * scale;
    this.canvas.style.width = `${size[0]}px`;
    this.canvas.style.height = `${size[1]}px`;
    const image = new ImageData(columns, rows);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const found = colour(row, column);
        if (!found) continue;
        image.data.set([found[0], found[1], found[2], 255], 4 * (row * columns + column));
      }
    }
    const small = new OffscreenCanvas(columns, rows);
    small.getContext("2d").putImageData(image, 0, 0);
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(this.canvas);
    this.ink = style.getPropertyValue("--nsm-ink");
    this.line = style.getPropertyValue("--nsm-line");
    this.accent = style.getPropertyValue("--nsm-accent");
    context.fillStyle = style.getPropertyValue("--nsm-masked");
    context.fillRect(box.left, 0, columns * box.width, box.bottom);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, box.left, 0, columns * box.width, box.bottom);
    context.strokeStyle = this.line;
    context.strokeRect(box.left - 0.5, 0.5, columns * box.width + 1, box.bottom);
    this.labels(context);
    this.outlines(context);
    this.picture = new OffscreenCanvas(this.canvas.width, this.canvas.height);
    this.picture.getContext("2d").drawImage(this.canvas, 0, 0);
    this.cursor();
  }

  labels(context) {
    const { rowLabels, columnLabels } = this.data;
    const { left, width, height, bottom } = this.box;
    context.fillStyle = this.ink;
    context.font = NSM_FONT;
    context.textBaseline = "middle";
    context.textAlign = "right";
    const every = (size) => Math.max(1, Math.ceil(NSM_APART / size));
    // All moved alike, so that the first is inside and as far from the second as from the others.
    const middle = (i, size) => (i + 0.5) * size + Math.max(0, 6 - size / 2);
    for (let i = 0; i < rowLabels.length; i += every(height)) {
      if (i && middle(i, height) > bottom - 5) break;
      context.fillText(rowLabels[i], left - 5, middle(i, height), left - 6);
    }
    for (let i = 0; i < columnLabels.length; i += every(width)) {
      if (i && middle(i, width) > columnLabels.length * width - 5) break;
      context.save();
      context.translate(left + middle(i, width), bottom + 5);
      context.rotate(-Math.PI / 2);
      context.fillText(columnLabels[i], 0, 0, this.box.below - 6);
      context.restore();
    }
  }

  outlines(context) {
    const { left, width, height } = this.box;
    const { marks = [], window: seen, rows } = this.data;
    context.strokeStyle = this.accent;
    context.lineWidth = 2;
    for (const [row, column] of marks) {
      context.strokeRect(left + column * width + 1, row * height + 1, width - 2, height - 2);
    }
    // The edge of a local layer's window: what is left of it cannot be seen.
    if (seen && seen < rows) {
      context.setLineDash([4, 3]);
      context.lineWidth = 1.2;
      context.beginPath();
      context.moveTo(left, seen * height);
      for (let row = seen; row < rows; row++) {
        context.lineTo(left + (row - seen + 1) * width, row * height);
        context.lineTo(left + (row - seen + 1) * width, (row + 1) * height);
      }
      context.stroke();
      context.setLineDash([]);
    }
  }

  cursor() {
    if (!this.picture) return;
    const context = this.canvas.getContext("2d");
    const scale = window.devicePixelRatio || 1;
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.picture, 0, 0, this.canvas.width / scale, this.canvas.height / scale);
    if (!this.at) return;
    const { left, width, height } = this.box;
    const [row, column] = this.at;
    context.strokeStyle = this.ink;
    context.lineWidth = 1.5;
    context.strokeRect(left + column * width, row * height, Math.max(3, width), Math.max(3, height));
  }

  cell(event) {
    if (!this.box) return null;
    const frame = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - frame.left - this.box.left) / this.box.width);
    const row = Math.floor((event.clientY - frame.top) / this.box.height);
    const { rows, columns } = this.data;
    return row >= 0 && column >= 0 && row < rows && column < columns ? [row, column] : null;
  }

  point(at) {
    if (!this.data || String(at) === String(this.at)) return;
    this.at = at;
    this.cursor();
    this.readout.textContent = at ? this.options.say(...at) : this.options.rest || "";
    if (this.options.look) this.options.look(at);
  }

  key(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!this.data || event.ctrlKey || event.metaKey || event.altKey) return;
    if ((event.key === "Enter" || event.key === " ") && this.at && this.options.pick) {
      event.preventDefault();
      this.options.pick(...this.at);
      return;
    }
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation();
    const { rows, columns } = this.data;
    const [row, column] = this.at || [rows - 1, columns - 1];
    const start = this.at ? move : [0, 0];
    this.point([
      Math.max(0, Math.min(rows - 1, row + start[0])),
      Math.max(0, Math.min(columns - 1, column + start[1])),
    ]);
  }
}
