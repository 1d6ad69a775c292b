"use strict";
const token = document.getElementById("token");
token.value = sessionStorage.getItem("token") || "";
token.addEventListener("input", () => sessionStorage.setItem("token", token.value));

document.getElementById("filter").addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  for (const item of document.querySelectorAll("[data-find]")) {
    item.hidden = !item.dataset.find.includes(wanted);
  }
});

function request(form) {
  const headers = {}, query = new URLSearchParams();
  let path = form.dataset.path;
  for (const input of form.querySelectorAll("[data-in]")) {
    if (input.value === "") continue;
    if (input.dataset.in === "path") {
      path = path.replace(`{${input.name}}`, encodeURIComponent(input.value));
    } else if (input.dataset.in === "query") query.set(input.name, input.value);
    else headers[input.name] = input.value;
  }
  if (token.value) headers.authorization = `Bearer ${token.value}`;
  const body = form.querySelector("textarea")?.value;
  if (body !== undefined) headers["content-type"] = "application/json";
  return [query.size ? `${path}?${query}` : path, { method: form.dataset.method, headers, body }];
}

async function show(form) {
  const result = form.parentElement.querySelector(".result");
  result.hidden = false;
  result.textContent = "…";
  try {
    const answer = await fetch(...request(form));
    const text = await answer.text();
    let told = text;
    try { told = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: as it is */ }
    const headers = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    result.textContent = `${answer.status} ${answer.statusText}\n${headers}\n\n${told}`;
  } catch (failure) {
    result.textContent = String(failure);
  }
}

for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", (event) => { event.preventDefault(); show(form); });
}
