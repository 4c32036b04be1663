const { members, others, overall, sizes, factors, images, labels, paths, classes, endings, statuses, rho, around,
  order, limit, predicted, targets, ladder } = JSON.parse(document.getElementById("data").textContent);
const page = document.documentElement;
const pageOf = run => around.join(run);
const colour = name => getComputedStyle(page).getPropertyValue(name).trim();

// One object an attempt; the chosen factor's value is put into `value`.
const attempts = members.algorithm.map((algorithm, i) => ({
  algorithm, sample: members.sample_id[i], label: labels[members.sample_id[i]],
  ending: members.ending[i], status: endings[members.ending[i]].words, steps: members.steps[i],
  gt: members.gt[i], fall: members.f[i], lost: members.points_lost[i],
  share: members.gt_share[i], regime: members.regime[i] ?? "none: GT is 0", tied: members.tied[i],
  rank: members.difficulty_rank[i], percentile: members.percentile[i], run: pageOf(members.run_id[i]), value: null }));
const algorithms = [...new Set(members.algorithm)];

// A sample as its owner calls it, too, where it has a file.
const named = sample => `sample ${sample}${paths[sample] ? ` (${paths[sample]})` : ""}`;

function tooltip(value, sanitize) {
  const { sample, ...rest } = value;
  const name = sample === undefined ? "" : sanitize(named(sample));
  const rows = Object.entries(rest).map(
    ([key, said]) => `<tr><td>${sanitize(key)}</td><td>${sanitize(said)}</td></tr>`);
  const image = images[sample] ? `<img src="${images[sample]}" alt="${name}">` : "";
  return `${image}${name && `<h2>${name}</h2>`}<table>${rows.join("")}</table>`;
}

function config() {
  const font = getComputedStyle(document.body).fontFamily;
  const [ink, soft, line, grid] = ["--ink", "--soft", "--line", "--grid"].map(colour);
  return { background: "transparent", font, view: { stroke: null },
    axis: { labelColor: soft, titleColor: soft, titleFontWeight: 500, gridColor: grid,
      domainColor: line, tickColor: line, labelFontSize: 11, titleFontSize: 12, labelOverlap: true },
    legend: { labelColor: ink, titleColor: soft, labelFontSize: 12, orient: "top", symbolSize: 70,
      columns: page.clientWidth < 600 ? 2 : 5,
      title: null },
    header: { labelColor: ink, labelFontSize: 13, labelFontWeight: 600, labelAnchor: "start",
      title: null, titleFontSize: 0 } };
}

function draw(id, spec) {
  return vegaEmbed(`#${id}`, { ...spec, config: config() }, {
    actions: false, renderer: "svg", loader: { target: "_blank", rel: "noopener" },
    tooltip: { formatTooltip: tooltip, theme: "custom" } });
}

const GAP = 18, LEFT = 72; // pixels between panels, and for the y-axis that a row of them shares

// Panels beside one another, as many as there is room for.
function layout(count) {
  const room = document.querySelector("main").clientWidth;
  const columns = Math.max(1, Math.min(count, 4, Math.floor(room / 250)));
  return { columns, width: Math.floor((room - LEFT - GAP * (columns - 1)) / columns) - 8 };
}

// The panels of a chart share their y-axis, and its x-axis is named once, below them.
const below = text => ({ text, orient: "bottom", anchor: "middle", offset: 8, fontSize: 12,
  fontWeight: 500, color: colour("--soft") });
const shared = { scale: { x: "independent", y: "shared" }, axis: { x: "independent", y: "shared" } };

// Algorithms are told apart by colour and by shape: of both there are a few, of all pairs many.
const SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-right", "triangle-left"];
const SERIES = 6;
const seriesColour = i => colour(`--series-${i % SERIES}`);

function drawDamage() {
  const values = attempts.filter(a => a.fall !== null && a.lost !== null);
  const shown = algorithms.filter(name => values.some(a => a.algorithm === name));
  const touch = matchMedia("(pointer: coarse)").matches;
  const series = range => ({ field: "algorithm", type: "nominal", scale: { domain: shown, range } });
  return draw("chart-damage", {
    data: { values }, width: "container", height: 330,
    layer: [{
      data: { values: [{ limit }] },
      mark: { type: "rule", strokeDash: [4, 3], color: colour("--soft"), tooltip: false, aria: false },
      encoding: { y: { field: "limit", type: "quantitative" } } }, {
      data: { values: [{ limit, said: `limit: ${limit} points` }] },
      mark: { type: "text", align: "left", baseline: "bottom", dx: 3, dy: -3, color: colour("--soft"),
        tooltip: false, aria: false },
      encoding: { x: { value: 0 }, y: { field: "limit", type: "quantitative" },
        text: { field: "said" } } }, {
      params: [{ name: "this", select: { type: "point", on: "pointerover", clear: "pointerout",
        fields: ["sample"] } }],
      mark: { type: "point", filled: true, aria: false },
      encoding: {
        x: { field: "fall", type: "quantitative", title: "forgetting: fall of the label's probability",
          axis: { tickCount: 5 } },
        y: { field: "lost", type: "quantitative", title: "damage: points of accuracy lost",
          axis: { tickCount: 6 } },
        color: series(shown.map((_, i) => seriesColour(i))),
        shape: series(shown.map((_, i) => SHAPES[i % SHAPES.length])),
        size: { condition: { param: "this", empty: false, value: 170 }, value: 30 },
        opacity: { condition: { param: "this", empty: false, value: 1 }, value: 0.6 },
        tooltip: [{ field: "sample" }, { field: "label", title: "class" }, { field: "algorithm" },
          { field: "status", title: "ended" }, { field: "steps" },
          { field: "fall", title: "forgotten", format: ".3f", type: "quantitative" },
          { field: "lost", title: "points lost", format: ".1f", type: "quantitative" }],
        ...(touch ? {} : { href: { field: "run" } }) } }] });
}

const ends = (names, extra = {}) => ({ field: "status", type: "nominal",
  scale: { domain: names.map(n => endings[n].words), ...extra } });
const endColours = names => names.map(n => colour(`--${n}`));

function drawEnds() {
  const names = order.filter(n => statuses.some(row => row.status === n && row.count));
  const values = statuses.filter(row => row.count).map(
    row => ({ ...row, status: endings[row.status].words, order: names.indexOf(row.status) }));
  return draw("chart-ends", {
    data: { values }, width: "container", height: 30 * new Set(values.map(v => v.algorithm)).size,
    mark: { type: "bar", height: 20, cornerRadius: 2, aria: false },
    encoding: {
      y: { field: "algorithm", type: "nominal", title: null,
        axis: { labelFontSize: 13, labelColor: colour("--ink"), domain: false, ticks: false } },
      x: { field: "count", type: "quantitative", title: "attempts", axis: { tickCount: 5 } },
      color: ends(names, { range: endColours(names) }), order: { field: "order" },
      tooltip: [{ field: "algorithm" }, { field: "status" },
        { field: "count", title: "attempts" }] } });
}

function drawFactor(name, ranks) {
  const { title, unit, values } = factors[name];
  attempts.forEach((a, i) => { a.value = values[i]; });
  const names = order.filter(
    n => attempts.some(a => a.status === endings[n].words));
  const heads = Object.fromEntries(algorithms.map(
    a => [a, rho[name]?.[a] ? `${a}: ${rho[name][a]}` : a]));
  const { columns, width } = layout(algorithms.length);
  const short = "abs(datum.value) >= 1e-4 || !datum.value ? format(datum.value, '~g') : "
    + "format(datum.value, '.2~e')";
  const axis = (field, title) => ({
    field: ranks ? `${field}_rank` : field, type: "quantitative",
    title, scale: { zero: false, nice: !ranks },
    axis: { tickCount: 4, ...(ranks ? { format: "d" } : { labelExpr: short }) } });
  const named = `${title}${unit ? ` (${unit})` : ""}`;
  const rank = field => [
    { window: [{ op: "rank", as: `${field}_rank` }], sort: [{ field }], groupby: ["algorithm"] },
    { joinaggregate: [{ op: "count", as: "tied" }], groupby: ["algorithm", field] },
    { calculate: `datum.${field}_rank + (datum.tied - 1) / 2`, as: `${field}_rank` }];
  const touch = matchMedia("(pointer: coarse)").matches; // a tap shows, and leads nowhere
  return draw("chart-factor", {
    data: { values: attempts.filter(a => a.value !== null) },
    transform: [
      ...(ranks ? [...rank("value"), ...rank("gt")] : []),
      { as: "place",
        calculate: `datum.rank + " of " + (${JSON.stringify(sizes)})[datum.algorithm]`
          + ' + (datum.tied ? ", tied with " + datum.tied : "")' }],
    facet: { field: "algorithm", type: "nominal", sort: algorithms,
      header: { labelExpr: `(${JSON.stringify(heads)})[datum.value]` } },
    columns, spacing: { row: 24, column: GAP }, title: below(ranks ? `rank of ${title}` : named),
    spec: {
      width, height: Math.round(Math.min(width, 240)),
      params: [{ name: "same", select: { type: "point", on: "pointerover", clear: "pointerout",
        fields: ["sample"] } }],
      mark: { type: "point", filled: true, aria: false },
      encoding: {
        x: axis("value", null),
        y: axis("gt", ranks ? "rank of GT (1: hardest)" : "GT (small is hard)"),
        color: ends(names, { range: endColours(names) }),
        shape: ends(names, { range: names.map(n => endings[n].shape) }),
        size: { condition: { param: "same", empty: false, value: 190 }, value: 26 },
        opacity: { condition: { param: "same", empty: false, value: 1 }, value: 0.55 },
        tooltip: [{ field: "sample" }, { field: "label", title: "class" }, { field: "algorithm" },
          { field: "status", title: "ended" }, { field: "steps" },
          { field: "gt", title: "GT", format: ".4g", type: "quantitative" },
          { field: "share", title: "GT / λ", format: ".3g", type: "quantitative" },
          { field: "regime", title: "GT is bounded by" },
          { field: "place", title: "difficulty rank" },
          { field: "value", title, format: ".4g", type: "quantitative" }],
        ...(touch ? {} : { href: { field: "run" } }) } },
    resolve: shared });
}

function drawPredicted(target) {
  const from = predicted[`predicted_${target}`], to = predicted[target];
  const values = predicted.algorithm.map((algorithm, i) => ({
    algorithm, sample: predicted.sample_id[i], label: labels[predicted.sample_id[i]],
    status: endings[predicted.ending[i]].words, predicted: from[i], measured: to[i],
    run: pageOf(predicted.run_id[i]) })).filter(
    row => row.predicted !== null && row.measured !== null);
  const names = order.filter(n => values.some(v => v.status === endings[n].words));
  const shown = [...new Set(values.map(v => v.algorithm))];
  const { columns, width } = layout(shown.length);
  const touch = matchMedia("(pointer: coarse)").matches;
  const both = values.map(row => row.measured); // said to all panels: a line's ends come too late
  const axis = (field, title, scale = { zero: false }) => ({ field, type: "quantitative", title,
    scale, axis: { tickCount: 3 } });
  const y = field => axis(field, `measured ${targets[target].axis}`,
    { domain: [Math.min(...both), Math.max(...both)], nice: true });
  return draw("chart-predicted", {
    data: { values },
    facet: { field: "algorithm", type: "nominal", sort: shown }, columns,
    spacing: { row: 24, column: GAP }, title: below(`predicted ${targets[target].axis}`),
    spec: {
      width, height: Math.round(Math.min(width, 240)),
      layer: [{
        transform: [
          { aggregate: [["min", "predicted"], ["max", "predicted"], ["min", "measured"],
            ["max", "measured"]].map(([op, field]) => ({ op, field, as: `${op}_${field}` })) },
          { calculate: "[max(datum.min_predicted, datum.min_measured), "
              + "min(datum.max_predicted, datum.max_measured)]", as: "both" },
          { flatten: ["both"], as: ["end"] }],
        mark: { type: "line", strokeDash: [4, 3], strokeWidth: 1, color: colour("--soft"),
          tooltip: false, aria: false },
        encoding: { x: axis("end", null),
          y: y("end") } }, {
        params: [{ name: "alike", select: { type: "point", on: "pointerover", clear: "pointerout",
          fields: ["sample"] } }],
        mark: { type: "point", filled: true, aria: false },
        encoding: {
          x: axis("predicted", null),
          y: y("measured"),
          color: ends(names, { range: endColours(names) }),
          shape: ends(names, { range: names.map(n => endings[n].shape) }),
          size: { condition: { param: "alike", empty: false, value: 190 }, value: 26 },
          opacity: { condition: { param: "alike", empty: false, value: 1 }, value: 0.55 },
          tooltip: [{ field: "sample" }, { field: "label", title: "class" },
            { field: "algorithm" }, { field: "status", title: "ended" },
            { field: "predicted", format: ".4g", type: "quantitative" },
            { field: "measured", format: ".4g", type: "quantitative" }],
          ...(touch ? {} : { href: { field: "run" } }) } }] },
    resolve: shared });
}

function drawLadder() {
  const shown = [...new Set(ladder.rungs.map(rung => rung.algorithm))];
  const { columns, width } = layout(shown.length);
  const values = ladder.rungs.map(rung => ({ ...rung,
    what: rung.kind === "index" ? "the index" : "a factor" }));
  const kinds = ["the index", "a factor"].filter(kind => values.some(v => v.what === kind));
  const of = { "the index": colour("--max_steps"), "a factor": colour("--flipped") };
  const isTold = ladder.unit === "of_attempt";
  const x = { field: "cost", type: "quantitative", scale: { type: "log" },
    title: null, axis: { labelExpr: "format(datum.value, datum.value < 1e-3 ? '.0e' : '~g')", tickCount: 5,
      grid: false } };
  const y = { field: "strength", type: "quantitative", title: "|ρ| with GT",
    scale: { domain: [0, 1] }, axis: { tickCount: 5 } };
  return draw("chart-ladder", {
    data: { values }, columns, spacing: { row: 24, column: GAP },
    title: below(isTold ? "cost of a sample, as a multiple of an attempt with ga"
      : "cost of a sample, in seconds"),
    facet: { field: "algorithm", type: "nominal", sort: shown },
    spec: {
      width, height: Math.round(Math.min(width, 240)),
      layer: [{
        transform: [{ filter: "datum.best" }],
        mark: { type: "line", interpolate: "step-after", strokeWidth: 1, color: colour("--soft"),
          tooltip: false, aria: false },
        encoding: { x, y, order: { field: "cost" } } }, {
        mark: { type: "point", filled: true, aria: false },
        encoding: { x, y,
          color: { field: "what", type: "nominal",
            scale: { domain: kinds, range: kinds.map(kind => of[kind]) } },
          shape: { field: "what", type: "nominal",
            scale: { domain: kinds, range: kinds.map(k => k === "the index" ? "diamond" : "circle") } },
          size: { condition: { test: "datum.kind === 'index'", value: 110 }, value: 34 },
          opacity: { condition: { test: "datum.kind === 'index'", value: 1 }, value: 0.6 },
          tooltip: [{ field: "title", title: "what" }, { field: "algorithm" },
            { field: "rho", title: "ρ with GT", format: ".3f", type: "quantitative" },
            { field: "cost", title: isTold ? "attempts with ga" : "seconds", format: ".2g",
              type: "quantitative" }] } }] },
    resolve: shared });
}

function drawClasses() {
  const { columns, width } = layout(algorithms.length);
  const values = attempts.map(a => ({ algorithm: a.algorithm, label: a.label,
    percentile: 100 * (sizes[a.algorithm] - a.rank + 0.5) / sizes[a.algorithm] }));
  const many = classes.length, room = width / many; // pixels
  const isWide = Math.max(...classes.map(name => name.length)) * 6 > room;
  return draw("chart-classes", {
    data: { values }, columns, spacing: { row: 24, column: GAP },
    facet: { field: "algorithm", type: "nominal", sort: algorithms },
    spec: { width, height: 180,
      mark: { type: "boxplot", extent: "min-max", size: Math.max(2, Math.min(14, room - 4)),
        color: colour("--box"), median: { color: colour("--page"), strokeWidth: 2 },
        rule: { color: colour("--box") } },
      encoding: {
        x: { field: "label", type: "nominal", title: "class", sort: classes,
          axis: isWide ? { labelAngle: -60, labelOverlap: room < 12, title: null }
            : { labelAngle: 0 } },
        y: { field: "percentile", type: "quantitative", title: "harder than, %",
          scale: { domain: [0, 100] }, axis: { tickCount: 4 } } } },
    resolve: shared });
}

const choice = document.getElementById("factor"), axes = document.getElementById("axes");
const target = document.getElementById("target");

function showFactor() {
  document.querySelectorAll("[data-factor]").forEach(
    block => { block.hidden = block.dataset.factor !== choice.value; });
  return drawFactor(choice.value, axes.value === "ranks");
}

function drawAll() {
  if (document.getElementById("chart-damage")) drawDamage();
  if (statuses.some(row => row.count)) drawEnds();
  if (target) drawPredicted(target.value);
  if (ladder.rungs.length) drawLadder();
  if (!choice) return;
  showFactor();
  drawClasses();
}

document.querySelectorAll("img[data-sample]").forEach(
  image => { image.src = images[image.dataset.sample]; });
document.querySelectorAll("[data-pick]").forEach(link => link.addEventListener("click", () => {
  choice.value = link.dataset.pick;
  showFactor();
}));
if (target) target.addEventListener("change", () => drawPredicted(target.value));
if (choice) [choice, axes].forEach(control => control.addEventListener("change", showFactor));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
let width = innerWidth, waiting;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  clearTimeout(waiting);
  waiting = setTimeout(drawAll, 150);
});
drawAll();
