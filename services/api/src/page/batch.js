// Reads a FASTA file in the browser, searches its proteins in parts, and shows progress and results as they come.

import { ask } from "./session.js";

const PART = 16; // records of one request
const SHOWN = 200; // rows of the table; the file has all of them
const $ = (id) => document.getElementById(id);

/** Records of a FASTA file, one after the other, whatever its size. */
async function* records(file) {
  const reader = file.stream().pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let record = null;
  for (;;) {
    const { value, done } = await reader.read();
    const lines = (rest + (value ?? "")).split(/\r?\n/);
    rest = done ? "" : lines.pop();
    for (const line of lines) {
      if (line.startsWith(">")) {
        if (record) yield record;
        const word = line.slice(1).split(/\s/)[0];
        // UniProt's headers hold the accession between bars.
        record = { name: /^(?:sp|tr)\|([^|]+)\|/.exec(word)?.[1] ?? word, sequence: "" };
      } else if (record) {
        record.sequence += line.trim();
      }
    }
    if (done) break;
  }
  if (record) yield record;
}

const run = { stopped: false, lines: [], failed: [], done: 0 };

async function search(part, settings) {
  for (let attempt = 0; ; attempt++) {
    const response = await ask("/v1/search", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ queries: part, ...settings }),
    });
    if (response.status === 429 && attempt < 20) {
      const seconds = Number(response.headers.get("retry-after")) || 1;
      await new Promise((later) => setTimeout(later, seconds * 1000));
      continue;
    }
    const body = await response.json();
    if (response.ok) return body.results;
    // One bad record refuses its part: then each is sent alone.
    if (part.length > 1) {
      const results = [];
      for (const one of part) results.push(...(await search([one], settings)));
      return results;
    }
    run.failed.push(`${part[0].name}: ${body.detail}`);
    return [{ query: part[0].name, hits: [] }];
  }
}

function add(results, part) {
  results.forEach((result, at) => {
    for (const hit of result.hits) {
      run.lines.push([part[at].name, hit.rank, hit.id, hit.cosine.toFixed(4), hit.probability?.toFixed(4) ?? "", hit.organism ?? "", hit.description]);
    }
  });
}

function show(bytes, total) {
  const failed = run.failed.length ? `, ${run.failed.length} refused` : "";
  $("progress").querySelector("progress").value = total ? bytes / total : 1;
  $("progress").querySelector("p").textContent = `${run.done} proteins searched${failed}`;
}

function table() {
  const results = $("results");
  results.replaceChildren();
  if (!run.lines.length && !run.failed.length) return;
  const save = document.createElement("a");
  save.className = "button plain";
  save.textContent = "Save as TSV";
  save.download = "hits.tsv";
  const head = ["query", "rank", "id", "cosine", "probability", "organism", "description"];
  const clean = (cell) => String(cell).replace(/[\t\r\n]/g, " ");
  const text = [head, ...run.lines].map((line) => line.map(clean).join("\t")).join("\n") + "\n";
  save.href = URL.createObjectURL(new Blob([text], { type: "text/tab-separated-values" }));
  const shown = document.createElement("table");
  const row = (cells, tag) => {
    const line = shown.insertRow();
    for (const cell of cells) {
      const place = document.createElement(tag);
      place.textContent = cell;
      line.append(place);
    }
  };
  row(head, "th");
  for (const line of run.lines.slice(0, SHOWN)) row(line, "td");
  results.append(save, shown);
  if (run.lines.length > SHOWN) {
    const more = document.createElement("p");
    more.className = "hint";
    more.textContent = `The first ${SHOWN} of ${run.lines.length} hits are shown; the file has all of them.`;
    results.append(more);
  }
  for (const refused of run.failed.slice(0, 20)) {
    const line = document.createElement("p");
    line.className = "problem";
    line.textContent = refused;
    results.append(line);
  }
}

$("batch").addEventListener("submit", async (event) => {
  event.preventDefault();
  const file = $("file").files[0];
  if (!file) return;
  Object.assign(run, { stopped: false, lines: [], failed: [], done: 0 });
  const settings = { k: Number($("k").value) || 5, collection: $("collection").value };
  $("progress").innerHTML = '<p></p><progress max="1" value="0"></progress>';
  $("stop").disabled = false;
  event.submitter.disabled = true;
  let part = [];
  let bytes = 0;
  const flush = async () => {
    if (!part.length) return;
    add(await search(part, settings), part);
    run.done += part.length;
    part = [];
    show(bytes, file.size);
    table();
  };
  try {
    for await (const record of records(file)) {
      if (run.stopped) break;
      bytes += record.sequence.length + record.name.length + 2;
      part.push({ name: record.name, sequence: record.sequence });
      if (part.length === PART) await flush();
    }
    if (!run.stopped) {
      await flush();
      show(file.size, file.size);
    }
  } catch {
    run.failed.push("The service stopped answering; what was found until then is kept.");
  }
  if (!run.done && !run.failed.length) run.failed.push("No record was read; a FASTA file begins with a line that starts with >.");
  table();
  $("stop").disabled = true;
  event.submitter.disabled = false;
});

$("stop").addEventListener("click", () => (run.stopped = true));
