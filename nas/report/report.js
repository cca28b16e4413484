"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const { columns, data, outlines, shown } = read("trials");
  const rowOf = new Map(data.map((row) => [row[0], row]));
  const number = new Intl.NumberFormat("en-US");

  function element(tag, text, parent) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text; // text only: nothing of a study is read as markup
    if (parent) parent.append(made);
    return made;
  }

  function list(pairs, parent) {
    const dl = element("dl", undefined, parent);
    for (const [name, value] of pairs) {
      element("dt", name, dl);
      element("dd", value, dl);
    }
  }

  function shownValue(value) {
    if (typeof value === "boolean") return value ? "yes" : "no";
    if (typeof value !== "number") return String(value);
    return Number.isInteger(value) ? number.format(value) : String(Number(value.toPrecision(4)));
  }

  // The card of one trial, beside the front.
  function show(trial, move) {
    const row = rowOf.get(trial);
    const card = document.getElementById("card");
    if (!row || !card) return;
    const cell = (name) => row[columns.indexOf(name)];
    card.replaceChildren();
    element("h3", `Trial ${trial}, ${cell("fate")}`, card);
    if (outlines[trial]) element("div", outlines[trial], card).className = "note";
    const test = cell("test_accuracy");
    const spread = cell("test_spread") === null ? "" : ` ± ${cell("test_spread").toFixed(2)}`;
    list(
      [
        ["parameters", number.format(cell("num_params"))],
        cell("deployed_params") !== null && ["parameters deployed (norms folded)", number.format(cell("deployed_params"))],
        test !== null && ["test", `${test.toFixed(2)} %${spread} (${cell("seeds")} ${cell("seeds") === 1 ? "seed" : "seeds"})`],
        cell("validation_accuracy") !== null && ["validation", `${cell("validation_accuracy").toFixed(2)} %`],
        ["multiply-accumulates", number.format(cell("num_macs"))],
        ["peak activations", `${number.format(cell("peak_activation_bytes"))} bytes`],
        cell("flash_bytes") !== null && ["flash in 8 bits, at most", `${number.format(cell("flash_bytes"))} bytes`],
        cell("ram_bytes") !== null && ["RAM in 8 bits, at most", `${number.format(cell("ram_bytes"))} bytes`],
        ["epochs trained", shownValue(cell("epochs"))],
        ["training time", `${number.format(Math.round(cell("train_seconds")))} s`],
        cell("reason") && ["reason", cell("reason")],
        ["digest", cell("digest")],
      ].filter(Boolean),
      card,
    );
    const drawing = document.getElementById(`drawing-${trial}`);
    if (drawing) card.append(drawing.content.cloneNode(true));
    const first = columns.indexOf("reason") + 1;
    const genes = columns.slice(first).map((name, i) => [name, row[first + i]]).filter(([, value]) => value !== null);
    const details = element("details", undefined, card);
    element("summary", `${genes.length} genes`, details);
    list(genes.map(([name, value]) => [name, shownValue(value)]), details);
    for (const line of document.querySelectorAll("tr[data-trial]"))
      line.classList.toggle("chosen", Number(line.dataset.trial) === trial);
    if (move) {
      card.focus({ preventScroll: true });
      card.scrollIntoView({ block: "nearest" });
    }
  }

  // Every trial in a table, made when it is first opened; a click on a heading sorts by that column.
  const headings = [
    ["trial", "trial"], ["fate", "fate"], ["num_params", "parameters"], ["deployed_params", "deployed"],
    ["test_accuracy", "test, %"], ["seeds", "seeds"],
    ["validation_accuracy", "validation, %"], ["epochs", "epochs"], ["num_macs", "multiply-accumulates"],
    ["peak_activation_bytes", "peak activations, bytes"], ["flash_bytes", "flash, bytes"], ["ram_bytes", "RAM, bytes"],
    ["train_seconds", "seconds"],
  ].filter(([name]) => data.some((row) => row[columns.indexOf(name)] !== null));
  function trialsTable(table) {
    const head = element("tr", undefined, element("thead", undefined, table));
    const body = element("tbody", undefined, table);
    function fill(rows) {
      body.replaceChildren();
      for (const row of rows) {
        const line = element("tr", undefined, body);
        line.dataset.trial = row[0];
        for (const [name] of headings) {
          const value = row[columns.indexOf(name)];
          const cell = element("td", undefined, line);
          if (name === "trial") {
            const button = element("button", value, cell);
            Object.assign(button, { type: "button", className: "link" }).dataset.trial = value;
          } else if (value !== null) cell.textContent = name.endsWith("accuracy") ? value.toFixed(2) : shownValue(value);
        }
        element("td", outlines[row[0]] || "", line).className = "left";
      }
    }
    for (const [name, text] of headings) {
      const cell = element("th", undefined, head);
      cell.scope = "col";
      const button = element("button", text, cell);
      Object.assign(button, { type: "button", className: "sort" });
      button.addEventListener("click", () => {
        const up = cell.getAttribute("aria-sort") !== "ascending";
        for (const other of head.children) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", up ? "ascending" : "descending");
        const at = columns.indexOf(name);
        // What has no value comes last, whichever way.
        const order = (a, b) => (a[at] === null) - (b[at] === null) || (a[at] < b[at] ? -1 : a[at] > b[at] ? 1 : 0) * (up ? 1 : -1);
        fill([...data].sort(order));
      });
    }
    Object.assign(element("th", "network", head), { scope: "col", className: "left" });
    fill(data);
  }
  document.getElementById("all-trials")?.addEventListener("toggle", (event) => {
    const table = event.target.querySelector("table");
    if (event.target.open && !table.tHead) trialsTable(table);
  });

  // The page's colors, so that a figure follows the light or dark of its surroundings.
  function colors() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(name).trim();
    return { ink: value("--soft"), grid: value("--grid"), paper: value("--paper") };
  }

  function themed(layout) {
    const { ink, grid } = colors();
    const axis = (name) => ({ ...layout[name], gridcolor: grid, linecolor: grid, tickangle: 0 });
    return { ...layout, font: { ...layout.font, color: ink }, xaxis: axis("xaxis"), yaxis: axis("yaxis"), showlegend: false };
  }

  function legend(plot, traces) {
    const box = document.createElement("div");
    box.className = "legend";
    traces.forEach((trace, index) => {
      if (trace.showlegend === false || !trace.x || !trace.x.length) return;
      const button = element("button", undefined, box);
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      const mark = element("i", undefined, button);
      const marker = trace.marker || {};
      mark.style.color = trace.mode === "lines" ? trace.line.color : marker.color || marker.line.color;
      const symbol = marker.symbol || "circle";
      mark.className = trace.mode === "lines" ? "line" : symbol.startsWith("x") ? "x" : symbol;
      button.append(trace.name);
      const members = traces.flatMap((t, i) => (i === index || (trace.legendgroup && t.legendgroup === trace.legendgroup) ? [i] : []));
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        Plotly.restyle(plot, { visible: on }, members);
      });
    });
    plot.before(box);
  }

  // Plotly's own buttons are cut off where a figure is narrow; those of the page go on in the next line.
  function choices(plot, options, first) {
    const box = document.createElement("div");
    box.className = "choices";
    const chosen = (button) => {
      for (const other of box.children) other.setAttribute("aria-pressed", String(other === button));
    };
    for (const { label, args } of options) {
      const button = element("button", label, box);
      button.type = "button";
      button.addEventListener("click", () => {
        chosen(button);
        Plotly.update(plot, ...args);
      });
    }
    chosen(box.children[first]);
    plot.after(box);
  }

  const plots = [];
  const touch = matchMedia("(pointer: coarse)").matches;
  async function draw(id) {
    const plot = document.getElementById(id);
    if (!plot) return;
    const figure = read(`${id}-figure`);
    const layout = themed(figure.layout);
    const [menu] = layout.updatemenus || [];
    delete layout.updatemenus;
    if (touch) layout.dragmode = false; // a finger scrolls the page
    await Plotly.newPlot(plot, figure.data, layout, {
      responsive: true, displaylogo: false, doubleClick: menu ? "autosize" : "reset+autosize", modeBarButtonsToRemove: ["select2d", "lasso2d"], displayModeBar: touch ? false : "hover",
    });
    legend(plot, figure.data);
    if (menu) choices(plot, menu.buttons, menu.active);
    plot.on("plotly_click", (event) => {
      const trial = event.points.map((point) => point.customdata).find((value) => value !== undefined && value !== null);
      if (trial !== undefined) show(trial, true);
    });
    plots.push(plot);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-trial]");
    if (button) show(Number(button.dataset.trial), true);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    const { ink, grid } = colors();
    const change = { "font.color": ink };
    for (const axis of ["xaxis", "yaxis"]) Object.assign(change, { [`${axis}.gridcolor`]: grid, [`${axis}.linecolor`]: grid });
    plots.forEach((plot) => Plotly.relayout(plot, change));
  });
  if (shown !== null) show(shown, false);
  draw("front-plot")
    .then(() => draw("progress-plot"))
    .then(() => draw("curves-plot"))
    .then(() => draw("losses-plot"))
    .then(() => draw("genes-plot"))
    .then(() => document.documentElement.setAttribute("data-ready", String(Math.round(performance.now()))));
})();
