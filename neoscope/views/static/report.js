"use strict";
// Draws a figure when it is about to be seen, in the colours that the reader's system asks for.
(function () {
  var settings = JSON.parse(document.getElementById("settings").textContent);
  var night = window.matchMedia("(prefers-color-scheme: dark)");
  var plots = Array.prototype.slice.call(document.querySelectorAll(".plot"));
  var printing = false;
  var paper = 680; // pixels between the margins of an A4 page
  var usual = 900; // pixels for which figures are made: titles and notes fit
  var opened = [];

  // Below a colour scale the plot area stays light: its darkest colour would vanish in the dark.
  function scaled(figure) {
    return Object.keys(figure.layout).some(function (name) { return /^coloraxis/.test(name); }) ||
      figure.data.some(function (trace) { return trace.type === "heatmap"; });
  }

  function look(figure) {
    if (!night.matches || printing) return settings.day;
    return scaled(figure) ? settings.night_scaled : settings.night;
  }

  function draw(plot) {
    if (plot.dataset.drawn) return;
    plot.dataset.drawn = "yes";
    var figure = JSON.parse(document.getElementById(plot.dataset.figure).textContent);
    figure.layout.template = look(figure);
    figure.layout.autosize = true;
    if (figure.layout.width) plot.dataset.width = figure.layout.width;
    Plotly.newPlot(plot, figure.data, figure.layout, settings.config);
  }

  function dress() {
    plots.forEach(function (plot) {
      if (plot.dataset.drawn) Plotly.relayout(plot, { template: look(plot) });
    });
  }

  if ("IntersectionObserver" in window) {
    var seen = new IntersectionObserver(
      function (entries) {
        entries.forEach(function (entry) {
          if (!entry.isIntersecting) return;
          seen.unobserve(entry.target);
          draw(entry.target);
        });
      },
      { rootMargin: "600px 0px" }
    );
    plots.forEach(function (plot) { seen.observe(plot); });
  } else {
    plots.forEach(draw);
  }

  // On paper a figure is drawn in its usual width and made smaller as a whole.
  function fit(plot) {
    var fixed = plot.dataset.width;
    var wide = fixed || usual;
    plot.style.zoom = printing ? Math.min(1, paper / wide) : "";
    var changes = { template: look(plot) };
    if (!fixed) changes.width = printing ? wide : null;
    if (!fixed && !printing) changes.autosize = true;
    Plotly.relayout(plot, changes);
  }

  function begin() {
    if (printing) return;
    printing = true;
    opened = Array.prototype.slice.call(document.querySelectorAll("details:not([open])"));
    opened.forEach(function (one) { one.open = true; });
    plots.forEach(draw);
    plots.forEach(fit);
  }

  function end() {
    if (!printing) return;
    printing = false;
    opened.forEach(function (one) { one.open = false; });
    plots.forEach(fit);
  }

  night.addEventListener("change", dress);
  window.addEventListener("beforeprint", begin);
  window.addEventListener("afterprint", end);
})();
