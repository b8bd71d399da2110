// What every view shares: the key, where the service asks for one, and requests that carry it.

const needsKey = "keys" in document.body.dataset;
const NAME = "protext-key";

/** `fetch`, with the key. */
export function ask(path, options = {}) {
  const key = sessionStorage.getItem(NAME);
  const headers = { ...options.headers, ...(key ? { authorization: `Bearer ${key}` } : {}) };
  return fetch(path, { ...options, headers });
}

/** True if forms cannot be left to the browser, which sends no key. */
export const carriesKey = () => needsKey;

async function fillCollections() {
  const response = await ask("/v1/info");
  if (!response.ok) return false;
  const { collections } = await response.json();
  for (const select of document.querySelectorAll("select[name=in], select#collection")) {
    if (select.options.length) continue;
    const option = ({ name, holds, n_records }) => new Option(`${name} (${n_records} ${holds})`, name);
    select.append(...collections.map(option));
    select.dispatchEvent(new Event("change"));
  }
  for (const place of document.querySelectorAll("[data-fragment]")) {
    const part = await ask(place.dataset.fragment, { headers: { "x-fragment": "1" } });
    place.innerHTML = await part.text();
  }
  return true;
}

function askForKey() {
  const form = document.createElement("form");
  form.className = "card row";
  form.innerHTML = '<label class="grow">This service asks for a key<input type="password" autocomplete="off" required></label><button>Use it</button><p class="hint" role="status"></p>';
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    event.stopPropagation();
    sessionStorage.setItem(NAME, form.querySelector("input").value.trim());
    if (await fillCollections()) form.remove();
    else form.querySelector("p").textContent = "This key is not known, or may not read.";
  });
  document.querySelector("main").prepend(form);
}

if (needsKey && !(sessionStorage.getItem(NAME) && (await fillCollections()))) askForKey();
