// Puts answers into the page without loading it anew. Without this script the forms do the same by themselves.

import { ask as request, carriesKey } from "./session.js";

const answers = document.getElementById("answers");

/** Sends a form and gives the HTML of its answer; problems come back as HTML, too. */
async function fragment(action, fields) {
  const response = await request(action, { method: "POST", body: fields, headers: { "x-fragment": "1" } });
  return response.text();
}

/** A link to this search, unless it is too long for one. */
function remember(fields) {
  const shown = new URLSearchParams([...fields].filter(([name, value]) => value !== "" && name !== "format"));
  const link = "/?" + shown;
  history.pushState(null, "", link.length < 2000 ? link : "/");
}

async function ask(form, fields) {
  const button = form.querySelector("button[type=submit]");
  button.disabled = true;
  answers.classList.add("busy");
  answers.setAttribute("aria-busy", "true");
  try {
    answers.innerHTML = await fragment(form.action, fields);
    remember(fields);
  } catch {
    answers.innerHTML = '<div class="problem" role="alert"><strong>The service did not answer.</strong><p>Try again in a moment.</p></div>';
  } finally {
    button.disabled = false;
    answers.classList.remove("busy");
    answers.removeAttribute("aria-busy");
  }
}

async function save(fields) {
  const response = await request("/download", { method: "POST", body: fields });
  const link = document.createElement("a");
  link.download = /filename="([^"]+)"/.exec(response.headers.get("content-disposition"))?.[1] ?? "problem.html";
  link.href = URL.createObjectURL(await response.blob());
  link.click();
}

async function explain(form) {
  const button = form.querySelector("button");
  button.disabled = true;
  const place = document.createElement("div");
  place.setAttribute("aria-live", "polite");
  try {
    place.innerHTML = await fragment(form.action, new URLSearchParams(new FormData(form)));
    form.replaceWith(place);
  } catch {
    button.disabled = false;
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.submitter?.name === "format") {
    // Downloads are left to the browser, unless they need a key.
    if (!carriesKey()) return;
    event.preventDefault();
    save(new URLSearchParams(new FormData(form, event.submitter)));
    return;
  }
  if (form.id === "search") {
    event.preventDefault();
    ask(form, new URLSearchParams(new FormData(form)));
  } else if ("why" in form.dataset) {
    event.preventDefault();
    explain(form);
  }
});

// Ctrl-Enter searches from the text field, where Enter begins a line.
document.getElementById("q").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.target.form.requestSubmit();
});

// A link to a search brings no key along; the answers are asked for here.
if (carriesKey() && document.getElementById("q").value.trim()) document.getElementById("search").requestSubmit();

addEventListener("popstate", () => location.reload());
