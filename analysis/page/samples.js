// The grid of samples: which are shown, in which order, and what is said of each.
const PAGE = 24; // samples that are added at a time
const grid = document.getElementById("grid");
const asked = name => document.getElementById(`grid-${name}`).value;

// What is known of a sample with one algorithm, and over all of them.
const tried = new Map();
const record = (sample, one) => tried.set(sample, [...(tried.get(sample) ?? []), one]);
attempts.forEach(a => record(a.sample, a));
others.sample_id.forEach((sample, i) => record(sample, { algorithm: others.algorithm[i],
  ending: others.status[i], status: endings[others.status[i]].words, steps: others.steps[i],
  lost: null, percentile: null, run: pageOf(others.run_id[i]) }));
const together = new Map(overall.sample_id.map((sample, i) => [sample, {
  percentile: overall.mean_percentile[i], place: overall.from_hardest[i],
  tied: overall.tied[i], steps: overall.mean_steps[i], lost: overall.mean_points_lost[i] }]));

function cardsOf(algorithm) {
  return [...tried].flatMap(([sample, ones]) => {
    const mine = ones.filter(one => !algorithm || one.algorithm === algorithm);
    if (!mine.length) return [];
    const of = algorithm ? { ...mine[0], place: mine[0].rank } : together.get(sample) ?? {};
    const values = mine.map(one => one.value ?? null).filter(value => value !== null);
    return [{ sample, label: labels[sample], mine, place: of.place ?? Infinity,
      percentile: of.percentile ?? null, tied: of.tied ?? 0, steps: of.steps ?? null, lost: of.lost ?? null,
      value: values.length ? values.reduce((a, b) => a + b) / values.length : null }];
  });
}

const last = value => value ?? -Infinity;
const ORDERS = {
  hard: (a, b) => a.place - b.place || a.sample - b.sample,
  easy: (a, b) => (b.place === Infinity ? -1 : b.place) - (a.place === Infinity ? -1 : a.place)
    || a.sample - b.sample,
  lost: (a, b) => last(b.lost) - last(a.lost) || a.place - b.place,
  slow: (a, b) => last(b.steps) - last(a.steps) || a.place - b.place,
  factor: (a, b) => (a.value ?? Infinity) - (b.value ?? Infinity) || a.sample - b.sample,
  sample: (a, b) => a.sample - b.sample };

function chosen() {
  const [label, ending, rank] = [asked("class"), asked("status"), asked("rank")];
  const [from, to] = rank ? rank.split("-").map(Number) : [0, 100];
  return cardsOf(asked("algorithm")).filter(card =>
    (!label || card.label === label)
    && (!ending || card.mine.some(one => one.ending === ending))
    && (!rank || (card.percentile !== null && 100 - card.percentile >= from
      && 100 - card.percentile <= to))).sort(ORDERS[asked("sort")]);
}

function element(name, text, more = {}) {
  return Object.assign(document.createElement(name), { textContent: text }, more);
}

const toRun = (one, text, name) => element("a", text, { href: one.run, target: "_blank", rel: "noopener",
  title: `${name}: its MLflow run` });

function lines(card) {
  const counts = new Map();
  card.mine.forEach(each => counts.set(each.status, (counts.get(each.status) ?? 0) + 1));
  const ways = [...counts].map(([words, many]) =>
    card.mine.length > 1 && many < card.mine.length ? `${many} ${words}` : words).join("; ");
  return [/^\d+$/.test(card.label) ? `class ${card.label}` : card.label,
    card.percentile === null ? "" : `harder than ${Math.round(card.percentile)}%`,
    card.tied ? `tied with ${card.tied}` : "",
    asked("sort") === "factor" && Number.isFinite(card.value)
      ? `${factors[choice.value].title}: ${Number(card.value.toPrecision(3))}`.replace("-", "\u2212") : "",
    ways,
    [card.steps === null ? "" : `${Number(card.steps.toFixed(1))} steps`,
      card.lost === null ? "" : `${card.lost.toFixed(1).replace("-", "\u2212")} points lost`]
      .filter(Boolean).join(", ")].filter(Boolean);
}

function drawn(card) {
  const item = document.createElement("li"), name = `${named(card.sample)}, class ${card.label}`;
  const opens = element("a", "", { href: "#sample", title: `${name}: how it was unlearned` });
  opens.dataset.open = card.sample;
  opens.append(images[card.sample] ? Object.assign(document.createElement("img"),
    { src: images[card.sample], alt: name, width: 64, height: 64 }) : `sample ${card.sample}`);
  item.append(opens, card.mine.length > 1 ? element("b", card.sample) : toRun(card.mine[0], card.sample, name));
  item.append(...lines(card).map((line, i) => element("span", line, { className: i ? "note" : "class" })));
  return item;
}

let found = [];
function showMore() {
  const from = grid.children.length, more = document.getElementById("grid-more");
  grid.append(...found.slice(from, from + PAGE).map(drawn));
  const left = found.length - grid.children.length;
  more.hidden = !left;
  more.textContent = `Show ${Math.min(PAGE, left)} more of ${left}`;
}

function showGrid() {
  found = chosen();
  grid.replaceChildren();
  showMore();
  document.getElementById("grid-count").textContent =
    `${found.length} of ${tried.size} samples${found.length ? "" : ": choose less"}`;
}

if (grid) {
  document.querySelectorAll("#samples select").forEach(
    control => control.addEventListener("change", showGrid));
  document.getElementById("grid-more").addEventListener("click", () => {
    const from = grid.children.length;
    showMore();
    const first = grid.children[from]; // where the reader goes on, if the button is gone
    first.tabIndex = -1;
    first.focus({ preventScroll: true });
  });
  document.getElementById("in-order")?.addEventListener("click", () => {
    document.getElementById("grid-sort").value = "factor";
    showGrid();
  });
  showGrid();
}

// One sample, which any of its pictures chooses.
function showStory() {
  const sample = Number(chosenSample.value), image = document.getElementById("story-image");
  if (image) Object.assign(image, { src: images[sample] ?? "", alt: `${named(sample)}, class ${labels[sample]}` });
  document.getElementById("story-id").textContent = sample;
  document.getElementById("story").replaceChildren(...tried.get(sample).map(one => {
    const item = element("li", "");
    const [, ...said] = lines({ ...one, value: null, label: labels[sample], mine: [one] });
    item.append(toRun(one, one.algorithm, named(sample)), `: ${said.join(", ")}`);
    return item;
  }));
}

if (chosenSample) {
  chosenSample.append(...cardsOf("").sort(ORDERS.hard).map(card => element("option",
    `${card.sample}, ${/^\d+$/.test(card.label) ? "class " : ""}${card.label}`, { value: card.sample })));
  const open = () => { showStory(); drawStory(); };
  chosenSample.addEventListener("change", open);
  document.addEventListener("click", event => {
    const link = event.target.closest("[data-open]");
    if (!link) return;
    chosenSample.value = link.dataset.open;
    open();
  });
  showStory();
}
drawAll();
