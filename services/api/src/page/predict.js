// Predictions: do proteins interact, what does perturbing genes change, which substitutions does a protein tolerate.

import { ask } from "./session.js";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const RESIDUES = 60; // positions of one line of the heat map
const CELL = 14; // pixels

/** An element with attributes and content. */
function make(name, attributes = {}, ...content) {
  const element = name.startsWith("svg:") ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...content);
  return element;
}

async function predict(kind, body) {
  const response = await ask(`/v1/predict/${kind}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail ?? answer.title);
  return answer;
}

const isSequence = (typed) => typed.startsWith(">") || (/^[A-Za-z*\-\s]+$/.test(typed) && typed.replace(/\s/g, "").length >= 20);

/** What was typed, as the API takes a protein: its residues, or the accession of a record. */
function protein(typed, name) {
  if (!isSequence(typed)) return { id: typed };
  const sequence = typed.startsWith(">") ? typed.split("\n").slice(1).join("") : typed;
  return { sequence: sequence.replace(/\s/g, ""), ...(name ? { id: name } : {}) };
}

const percent = (share) => `${Math.round(share * 100)}%`;

function trust(member) {
  const nearest = member.nearest_training_protein;
  const near = nearest ? `nearest training protein ${nearest.id}, similarity ${nearest.similarity.toFixed(2)}` : "";
  return `${member.id}: ${member.in_training ? "was trained on" : "not trained on"}${near ? ", " + near : ""}`;
}

async function interaction(place) {
  const answer = await predict("ppi", {
    pairs: [{ a: protein($("ppi-a").value.trim(), "first"), b: protein($("ppi-b").value.trim(), "second") }],
  });
  const [found] = answer.predictions;
  const meter = make("meter", { min: 0, max: 1, value: found.probability, "aria-label": "probability" });
  place.append(
    make("p", {}, make("b", {}, percent(found.probability)), " probability that they interact ", meter),
    make("p", { class: "hint" }, trust(found.a)),
    make("p", { class: "hint" }, trust(found.b)),
  );
}

/** Bars from zero with the ends of their intervals, and a mark for the baseline. */
function bars(changes) {
  const width = 560, left = 110, height = 20;
  const reach = Math.max(...changes.flatMap((change) => [change.low, change.high, change.training_mean].map(Math.abs)), 1e-9);
  const x = (value) => left + ((value / reach + 1) / 2) * (width - left - 10);
  const svg = make("svg:svg", { viewBox: `0 0 ${width} ${changes.length * height + 4}`, role: "img", class: "plot", "aria-label": "Predicted changes" });
  changes.forEach((change, at) => {
    const y = at * height + 4;
    const [from, to] = [Math.min(x(0), x(change.predicted)), Math.max(x(0), x(change.predicted))];
    const title = make("svg:title", {}, `${change.name}: ${change.predicted.toFixed(3)} (95% ${change.low.toFixed(3)} to ${change.high.toFixed(3)}); training mean ${change.training_mean.toFixed(3)}`);
    svg.append(
      make("svg:g", {},
        title,
        make("svg:text", { x: left - 8, y: y + 13, "text-anchor": "end" }, change.name),
        make("svg:rect", { x: from, y: y + 2, width: Math.max(1, to - from), height: 13, class: "bar" }),
        make("svg:line", { x1: x(change.low), x2: x(change.high), y1: y + 8.5, y2: y + 8.5, class: "whisker" }),
        make("svg:line", { x1: x(change.training_mean), x2: x(change.training_mean), y1: y, y2: y + 17, class: "mark" })),
    );
  });
  return svg;
}

async function perturbation(place) {
  const genes = $("genes").value.split(/[\s,;+]+/).filter(Boolean);
  const answer = await predict("perturbation", { genes, top: 25, ...($("head") ? { head: $("head").value } : {}) });
  const changes = answer.movers;
  for (const gene of answer.genes) {
    const nearest = gene.nearest ? `, nearest training gene ${gene.nearest.symbol} (similarity ${gene.nearest.similarity.toFixed(2)})` : "";
    place.append(make("p", { class: "hint" }, `${gene.symbol}: ${gene.in_training ? "was trained on" : "not trained on"}${nearest}`));
  }
  place.append(make("p", {}, `Largest predicted changes (${answer.unit}). Bars are predictions, thin lines 95% intervals, upright marks the mean of all training perturbations.`), bars(changes));
}

/** Red is less likely than the wild type, blue more, as in the heat maps of `protext variants`. */
function shade(score, reach) {
  const part = Math.max(-1, Math.min(1, score / reach));
  return part < 0 ? `rgba(178, 24, 43, ${-part})` : `rgba(33, 102, 172, ${part})`;
}

function heatMap(sequence, letters, rows) {
  const reach = Math.max(...rows.flat().map(Math.abs), 1e-9);
  const blocks = document.createDocumentFragment();
  for (let start = 0; start < sequence.length; start += RESIDUES) {
    const part = rows.slice(start, start + RESIDUES);
    const width = 24 + part.length * CELL, height = 18 + letters.length * CELL;
    const svg = make("svg:svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", class: "plot", "aria-label": `Positions ${start + 1} to ${start + part.length}` });
    letters.forEach((letter, line) => svg.append(make("svg:text", { x: 12, y: 18 + line * CELL + 11, "text-anchor": "middle" }, letter)));
    part.forEach((scores, column) => {
      const x = 24 + column * CELL;
      const wild = sequence[start + column];
      if ((start + column) % 10 === 9) svg.append(make("svg:text", { x: x + CELL / 2, y: 12, "text-anchor": "middle" }, start + column + 1));
      scores.forEach((score, line) => {
        const cell = make("svg:rect", { x, y: 18 + line * CELL, width: CELL - 1, height: CELL - 1, fill: letters[line] === wild ? "none" : shade(score, reach), class: letters[line] === wild ? "wild" : "cell" });
        cell.append(make("svg:title", {}, `${wild}${start + column + 1}${letters[line]}: ${score.toFixed(2)}`));
        svg.append(cell);
      });
    });
    blocks.append(make("div", { class: "scroll" }, svg));
  }
  return blocks;
}

async function variants(place) {
  const given = protein($("variant-protein").value.trim());
  const mutants = $("mutants").value.split(/[\s,;]+/).filter(Boolean);
  const body = { ...given, mutants, scan: mutants.length === 0, scores: ["masked_marginal"], masking: mutants.length ? "each" : "spread" };
  const answer = await predict("variants", body);
  if (answer.variants.length) {
    const table = make("table", {}, make("tr", {}, make("th", {}, "mutant"), make("th", { class: "number" }, "masked marginal")));
    for (const variant of answer.variants) {
      table.append(make("tr", {}, make("td", {}, variant.mutant), make("td", { class: "number" }, variant.masked_marginal.toFixed(3))));
    }
    place.append(table);
  }
  if (answer.scan) {
    const sequence = answer.scan.sequence ?? given.sequence;
    place.append(make("p", {}, "Every substitution: red is less likely than the wild type, blue more; outlined is the wild type."), heatMap(sequence, [...answer.scan.amino_acids], answer.scan.masked_marginal));
  }
}

const PREDICTIONS = { ppi: interaction, perturbation, variants };

document.addEventListener("submit", async (event) => {
  const kind = event.target.dataset.predict;
  if (!kind) return;
  event.preventDefault();
  const button = event.target.querySelector("button");
  const place = event.target.querySelector("[data-answer]");
  button.disabled = true;
  place.replaceChildren(make("p", { class: "hint" }, "Working\u2026"));
  try {
    const found = document.createElement("div");
    await PREDICTIONS[kind](found);
    place.replaceChildren(found);
  } catch (error) {
    place.replaceChildren(make("div", { class: "problem", role: "alert" }, error.message));
  } finally {
    button.disabled = false;
  }
});
