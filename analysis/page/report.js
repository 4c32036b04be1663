const { members, others, overall, sizes, factors, images, labels, paths, classes, endings, statuses, rho, around,
  order, limit, predicted, targets, ladder, curves, bands, flips, alike, map, free,
  verdicts } = JSON.parse(document.getElementById("data").textContent);
const page = document.documentElement;
const pageOf = run => around.join(run);
const colour = name => getComputedStyle(page).getPropertyValue(name).trim();

// One object an attempt; the chosen factor's value is put into `value`.
const places = new Map([...new Set(members.sample_id)].map((sample, i) => [sample, i]));
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

const isDark = matchMedia("(prefers-color-scheme: dark)");
const isTouched = matchMedia("(pointer: coarse)").matches; // a tap shows, and leads nowhere

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

// A number on an axis or in a tooltip.
const number = (field, title, more = {}) => ({ field, type: "quantitative", title,
  ...(typeof more === "string" ? { format: more } : more) });
// A kind of thing, with its colours or shapes.
const kind = (field, domain, range) => ({ field, type: "nominal", scale: { domain, range } });

// A chart with a panel an algorithm; the x-axis is named once, below them, and the y-axis shared or free.
function panels(id, values, shown, title, spec, { isFree, header, transform = [] } = {}) {
  const { columns, width } = layout(shown.length), x = "independent", y = isFree ? x : "shared";
  return draw(id, { data: { values }, transform, columns, spacing: { row: 24, column: GAP },
    title: { text: title, orient: "bottom", anchor: "middle", offset: 8, fontSize: 12, fontWeight: 500,
      color: colour("--soft") },
    facet: { field: "algorithm", type: "nominal", sort: shown, ...(header ? { header } : {}) },
    spec: { width, height: Math.round(Math.min(width, 240)), ...spec },
    resolve: { scale: { x, y }, axis: { x, y } } });
}

// Points of attempts: all of a sample stand out when one is pointed at, and each leads to its run.
const points = encoding => ({
  params: [{ name: "same", select: { type: "point", on: "pointerover", clear: "pointerout",
    fields: ["sample"] } }],
  mark: { type: "point", filled: true, aria: false },
  encoding: { size: { condition: { param: "same", empty: false, value: 180 }, value: 28 },
    opacity: { condition: { param: "same", empty: false, value: 1 }, value: 0.55 },
    ...(isTouched ? {} : { href: { field: "run" } }), ...encoding } });
const WHO = [{ field: "sample" }, { field: "label", title: "class" }, { field: "algorithm" },
  { field: "status", title: "ended" }];
const line = { type: "line", strokeDash: [4, 3], strokeWidth: 1, tooltip: false, aria: false };

// Algorithms are told apart by colour and by shape: of both there are a few, of all pairs many.
const SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-right", "triangle-left"];
const SERIES = 6;

function drawDamage() {
  const values = attempts.filter(a => a.fall !== null && a.lost !== null);
  const shown = algorithms.filter(name => values.some(a => a.algorithm === name));
  return draw("chart-damage", {
    data: { values }, width: "container", height: 330,
    layer: [{
      data: { values: [{ limit }] }, mark: { ...line, type: "rule", color: colour("--soft") },
      encoding: { y: number("limit") } }, {
      data: { values: [{ limit, said: `limit: ${limit} points` }] },
      mark: { type: "text", align: "left", baseline: "bottom", dx: 3, dy: -3, color: colour("--soft"),
        tooltip: false, aria: false },
      encoding: { x: { value: 0 }, y: number("limit"), text: { field: "said" } } },
    points({
      x: number("fall", "forgetting: fall of the label's probability", { axis: { tickCount: 5 } }),
      y: number("lost", "damage: points of accuracy lost", { axis: { tickCount: 6 } }),
      color: kind("algorithm", shown, shown.map((_, i) => colour(`--series-${i % SERIES}`))),
      shape: kind("algorithm", shown, shown.map((_, i) => SHAPES[i % SHAPES.length])),
      tooltip: [...WHO, { field: "steps" }, number("fall", "forgotten", ".3f"),
        number("lost", "points lost", ".1f")] })] });
}

const present = ways => order.filter(n => ways.includes(endings[n].words));
const endColours = names => kind("status", names.map(n => endings[n].words), names.map(n => colour(`--${n}`)));
const endShapes = names => kind("status", names.map(n => endings[n].words), names.map(n => endings[n].shape));

// How many attempts of each algorithm came to what; the colour of each kind, by its words, in order.
function drawBars(id, rows, colours) {
  const values = rows.filter(row => row.count), kinds = Object.keys(colours);
  return draw(id, {
    data: { values: values.map(row => ({ ...row, order: kinds.indexOf(row.status) })) },
    width: "container", height: 30 * new Set(values.map(v => v.algorithm)).size,
    mark: { type: "bar", height: 20, cornerRadius: 2, aria: false },
    encoding: {
      y: { field: "algorithm", type: "nominal", title: null,
        axis: { labelFontSize: 13, labelColor: colour("--ink"), domain: false, ticks: false } },
      x: number("count", "attempts", { axis: { tickCount: 5 } }),
      color: kind("status", kinds, Object.values(colours)), order: { field: "order" },
      tooltip: [{ field: "algorithm" }, { field: "status" }, { field: "count", title: "attempts" }] } });
}

function drawEnds() {
  const rows = statuses.filter(row => row.count).map(row => ({ ...row, status: endings[row.status].words }));
  const names = present(rows.map(row => row.status));
  return drawBars("chart-ends", rows, Object.fromEntries(
    names.map(name => [endings[name].words, colour(`--${name}`)])));
}

const drawForgotten = () => drawBars("chart-forgotten",
  verdicts.map(row => ({ ...row, status: row.status.replace("_", "-") })), { "forgotten": colour("--flipped"),
    "over-forgotten": colour("--damaged"), "remembered": colour("--box") });

function drawFactor(name, ranks) {
  const { title, unit, phase, values } = factors[name];
  attempts.forEach((a, i) => { a.value = values[phase === "pre" ? places.get(a.sample) : i]; });
  const names = present(attempts.map(a => a.status));
  const heads = Object.fromEntries(algorithms.map(
    a => [a, rho[name]?.[a] ? `${a}: ${rho[name][a]}` : a]));
  const short = "abs(datum.value) >= 1e-4 || !datum.value ? format(datum.value, '~g') : "
    + "format(datum.value, '.2~e')";
  const axis = (field, said) => number(ranks ? `${field}_rank` : field, said, {
    scale: { zero: false, nice: !ranks },
    axis: { tickCount: 4, ...(ranks ? { format: "d" } : { labelExpr: short }) } });
  const named = `${title}${unit ? ` (${unit})` : ""}`;
  const rank = field => [
    { window: [{ op: "rank", as: `${field}_rank` }], sort: [{ field }], groupby: ["algorithm"] },
    { joinaggregate: [{ op: "count", as: "tied" }], groupby: ["algorithm", field] },
    { calculate: `datum.${field}_rank + (datum.tied - 1) / 2`, as: `${field}_rank` }];
  return panels("chart-factor", attempts.filter(a => a.value !== null), algorithms,
    ranks ? `rank of ${title}` : named,
    points({
      x: axis("value", null), y: axis("gt", ranks ? "rank of GT (1: hardest)" : "GT (small is hard)"),
      color: endColours(names), shape: endShapes(names),
      tooltip: [...WHO, { field: "steps" }, number("gt", "GT", ".4g"), number("share", "GT / λ", ".3g"),
        { field: "regime", title: "GT is bounded by" }, { field: "place", title: "difficulty rank" },
        number("value", title, ".4g")] }), {
      isFree: free.factor && !ranks, header: { labelExpr: `(${JSON.stringify(heads)})[datum.value]` },
      transform: [
        ...(ranks ? [...rank("value"), ...rank("gt")] : []),
        { as: "place",
          calculate: `datum.rank + " of " + (${JSON.stringify(sizes)})[datum.algorithm]`
            + ' + (datum.tied ? ", tied with " + datum.tied : "")' }] });
}

function drawPredicted(target) {
  const from = predicted[`predicted_${target}`], to = predicted[target], isFree = free[target];
  const values = predicted.algorithm.map((algorithm, i) => ({
    algorithm, sample: predicted.sample_id[i], label: labels[predicted.sample_id[i]],
    status: endings[predicted.ending[i]].words, predicted: from[i], measured: to[i],
    run: pageOf(predicted.run_id[i]) })).filter(
    row => row.predicted !== null && row.measured !== null);
  const names = present(values.map(v => v.status)), shown = [...new Set(values.map(v => v.algorithm))];
  const both = values.map(row => row.measured); // said to all panels: a line's ends come too late
  const axis = (field, title, scale = { zero: false }) => number(field, title, { scale, axis: { tickCount: 3 } });
  const y = field => axis(field, `measured ${targets[target].axis}`,
    isFree ? undefined : { domain: [Math.min(...both), Math.max(...both)], nice: true });
  return panels("chart-predicted", values, shown, `predicted ${targets[target].axis}`, {
    layer: [{
      transform: [
        { aggregate: [["min", "predicted"], ["max", "predicted"], ["min", "measured"],
          ["max", "measured"]].map(([op, field]) => ({ op, field, as: `${op}_${field}` })) },
        { calculate: "[max(datum.min_predicted, datum.min_measured), "
            + "min(datum.max_predicted, datum.max_measured)]", as: "both" },
        { flatten: ["both"], as: ["end"] }],
      mark: { ...line, color: colour("--soft") }, encoding: { x: axis("end", null), y: y("end") } },
    points({ x: axis("predicted", null), y: y("measured"), color: endColours(names), shape: endShapes(names),
      tooltip: [...WHO, number("predicted", "predicted", ".4g"), number("measured", "measured", ".4g")] })] },
  { isFree });
}

function drawLadder() {
  const shown = [...new Set(ladder.rungs.map(rung => rung.algorithm))];
  const values = ladder.rungs.map(rung => ({ ...rung, what: rung.kind === "index" ? "the index" : "a factor" }));
  const kinds = ["the index", "a factor"].filter(what => values.some(v => v.what === what));
  const looks = { "the index": [colour("--max_steps"), "diamond"], "a factor": [colour("--flipped"), "circle"] };
  const isTold = ladder.unit === "of_attempt", ofIndex = (yes, no) => ({
    condition: { test: "datum.kind === 'index'", value: yes }, value: no });
  const tens = Array.from({ length: 19 }, (_, i) => 10 ** (i - 9)); // all that an axis may name
  const x = number("cost", null, { scale: { type: "log" }, axis: { values: tens, format: "~r", labelSeparation: 6, grid: false } });
  const y = number("strength", "|ρ| with GT", { scale: { domain: [0, 1] }, axis: { tickCount: 5 } });
  return panels("chart-ladder", values, shown,
    isTold ? "cost of a sample, as a multiple of an attempt with ga" : "cost of a sample, in seconds", {
      layer: [{
        transform: [{ filter: "datum.best" }],
        mark: { ...line, strokeDash: [], interpolate: "step-after", color: colour("--soft") },
        encoding: { x, y, order: { field: "cost" } } }, {
        mark: { type: "point", filled: true, aria: false },
        encoding: { x, y, size: ofIndex(110, 34), opacity: ofIndex(1, 0.6),
          color: kind("what", kinds, kinds.map(what => looks[what][0])),
          shape: kind("what", kinds, kinds.map(what => looks[what][1])),
          tooltip: [{ field: "title", title: "what" }, { field: "algorithm" },
            number("rho", "ρ with GT", ".3f"), number("cost", isTold ? "attempts with ga" : "seconds", ".2g")] } }] });
}

function drawClasses() {
  const values = attempts.map(a => ({ algorithm: a.algorithm, label: a.label,
    percentile: 100 * (sizes[a.algorithm] - a.rank + 0.5) / sizes[a.algorithm] }));
  const room = layout(algorithms.length).width / classes.length; // pixels
  const isWide = Math.max(...classes.map(name => name.length)) * 6 > room;
  return panels("chart-classes", values, algorithms, "class", { height: 180,
    mark: { type: "boxplot", extent: "min-max", size: Math.max(2, Math.min(14, room - 4)),
      color: colour("--box"), median: { color: colour("--page"), strokeWidth: 2 },
      rule: { color: colour("--box") } },
    encoding: {
      x: { field: "label", type: "nominal", title: null, sort: classes,
        axis: isWide ? { labelAngle: -60, labelOverlap: room < 12 } : { labelAngle: 0 } },
      y: number("percentile", "harder than, %", { scale: { domain: [0, 100] }, axis: { tickCount: 4 } }) } });
}

function drawFlips() {
  const side = (field, title) => ({ field, type: "nominal", sort: classes, title, axis: { labelAngle: 0 } });
  return panels("chart-flips", flips, [...new Set(flips.map(row => row.algorithm))], "taken for", {
    mark: { type: "rect", aria: false },
    encoding: { x: side("flipped_to", null), y: side("label", "class"),
      color: number("attempts", null, { scale: { scheme: "blues", reverse: isDark.matches }, legend: null }),
      tooltip: [{ field: "algorithm" }, { field: "label", title: "class" },
        { field: "flipped_to", title: "taken for" }, { field: "attempts" }] } });
}

function drawSample(sample) {
  const ends = { "the hardest": overall.sample_id[0], "the easiest": overall.sample_id.at(-1) };
  const shown = { [`sample ${sample}`]: sample };
  for (const [who, id] of Object.entries(ends)) if (id !== sample && id !== undefined) shown[`${who}: ${id}`] = id;
  const values = [
    ...bands, ...Object.entries(shown).flatMap(([who, id]) => curves.filter(row => row.sample_id === id).flatMap(
      ({ algorithm, steps, probs }) => probs.map((p, i) => ({ algorithm, who, step: steps[i], p }))))];
  const x = number("step", null, { axis: { tickMinStep: 1, tickCount: 5, grid: false } });
  const y = field => number(field, "probability of its label",
    { scale: { type: "log", domain: [0.001, 1] }, axis: { values: [0.001, 0.01, 0.1, 1], format: "~g" } });
  return panels("chart-sample", values, [...new Set(bands.map(row => row.algorithm))], "step", { layer: [
    { transform: [{ filter: "datum.high" }], encoding: { x, y: y("low"), y2: { field: "high" } },
      mark: { type: "area", color: colour("--box"), opacity: 0.25, tooltip: false, aria: false } },
    { transform: [{ filter: "datum.high" }], encoding: { x, y: y("middle") },
      mark: { ...line, color: colour("--soft") } },
    { transform: [{ filter: "datum.who" }],
      mark: { type: "line", point: { size: 22, aria: false }, strokeWidth: 1.5, aria: false },
      encoding: { x, y: y("p"),
        color: kind("who", Object.keys(shown), ["--link", "--damaged", "--series-2"].map(colour)),
        tooltip: [{ field: "who", title: "of" }, { field: "step" }, number("p", "probability", ".3g")] } }] });
}

// All samples, a line each, over the algorithms: where lines run level, these agree.
function drawRanks() {
  const ids = [...overall.sample_id], ends = { "the hardest": ids.slice(0, 3), "the easiest": ids.slice(-3) };
  const endOf = sample => Object.keys(ends).find(end => ends[end].includes(sample));
  const lines = (filter, mark, color) => ({ transform: [{ filter }], mark: { type: "line", aria: false, ...mark },
    encoding: { color, detail: { field: "sample" },
      x: { field: "algorithm", type: "nominal", sort: algorithms, title: null,
        scale: { type: "point", padding: 0.1 }, axis: { labelAngle: 0, labelFontSize: 13, grid: true } },
      y: number("percentile", "harder than, %", { axis: { tickCount: 5 } }),
      tooltip: [{ field: "sample" }, { field: "algorithm" }, number("percentile", "harder than, %", ".0f")] } });
  return draw("chart-ranks", { width: "container", height: 300,
    data: { values: attempts.map(({ algorithm, sample, percentile }) => ({ algorithm, sample, percentile,
      end: endOf(sample) })) },
    layer: [
      lines("!datum.end", { strokeWidth: 0.7, opacity: Math.max(0.08, Math.min(0.5, 40 / ids.length)) },
        { value: colour("--box") }),
      lines("datum.end", { strokeWidth: 2, point: true },
        kind("end", Object.keys(ends), ["--link", "--damaged"].map(colour)))] });
}

function drawMap() {
  const axis = (field, i) => number(field, `component ${i + 1} (${Math.round(100 * map.shares[i])}%)`,
    { axis: { tickCount: 5 } });
  return draw("chart-map", { width: "container", height: 380,
    data: { values: map.sample_id.map((sample, i) => ({ sample, label: labels[sample], x: map.x[i], y: map.y[i],
      percentile: together.get(sample)?.percentile })).filter(row => row.label !== undefined) },
    mark: { type: "point", filled: true, size: 55, opacity: 0.85, aria: false },
    encoding: { x: axis("x", 0), y: axis("y", 1),
      color: number("percentile", null, { scale: { scheme: "viridis", reverse: !isDark.matches, domain: [0, 100] },
        legend: { title: "harder than, %", orient: "right", gradientLength: 200 } }),
      tooltip: [{ field: "sample" }, { field: "label", title: "class" },
        number("percentile", "harder than, %", ".0f")] } });
}

function drawAlike() {
  const names = alike.titles, room = document.querySelector("main").clientWidth, isNarrow = room < 600;
  const step = Math.max(8, Math.min(18, Math.floor((room - (isNarrow ? 20 : 260)) / names.length)));
  const side = (field, more) => ({ field, type: "nominal", sort: names, axis: { labels: !isNarrow, labelLimit: 220,
    labelFontSize: Math.min(11, step), labelOverlap: false, ticks: false, domain: false, title: null, ...more } });
  return draw("chart-alike", {
    data: { values: alike.strengths.flatMap((row, i) => row.map((strength, j) =>
      ({ a: names[i], b: names[j], strength }))) },
    width: { step }, height: { step }, mark: { type: "rect", aria: false },
    encoding: { x: side("b", { labelAngle: -60 }), y: side("a"),
      color: number("strength", null, { scale: { scheme: "blues", reverse: isDark.matches, domain: [0, 1] },
        legend: { title: "|ρ|", orient: isNarrow ? "top" : "right" } }),
      tooltip: [{ field: "a", title: "factor" }, { field: "b", title: "and" }, number("strength", "|ρ|", ".2f")] } });
}

const choice = document.getElementById("factor"), axes = document.getElementById("axes");
const target = document.getElementById("target"), chosenSample = document.getElementById("chosen");
const drawStory = () => document.getElementById("chart-sample") && drawSample(Number(chosenSample.value));

function showFactor() {
  document.querySelectorAll("[data-factor]").forEach(
    block => { block.hidden = block.dataset.factor !== choice.value; });
  const drawing = drawFactor(choice.value, axes.value === "ranks");
  if (asked("sort") === "factor") showGrid();
  return drawing;
}

// One after the other, so that the page can be read meanwhile.
async function drawAll() {
  for (const [id, one] of [["damage", drawDamage], ["ends", drawEnds], ["forgotten", drawForgotten],
    ["sample", drawStory], ["predicted", () => drawPredicted(target.value)], ["ladder", drawLadder],
    ["factor", showFactor], ["alike", drawAlike], ["map", drawMap], ["ranks", drawRanks], ["classes", drawClasses], ["flips", drawFlips]]) {
    if (!document.getElementById(`chart-${id}`)) continue;
    await one();
    await new Promise(done => setTimeout(done));
  }
}

document.querySelectorAll("img[data-sample]").forEach(
  image => { image.src = images[image.dataset.sample]; });
document.querySelectorAll("[data-pick]").forEach(link => link.addEventListener("click", () => {
  choice.value = link.dataset.pick;
  showFactor();
}));
if (target) target.addEventListener("change", () => drawPredicted(target.value));
if (choice) [choice, axes].forEach(control => control.addEventListener("change", showFactor));
isDark.addEventListener("change", drawAll);
let width = innerWidth, waiting;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  clearTimeout(waiting);
  waiting = setTimeout(drawAll, 150);
});
