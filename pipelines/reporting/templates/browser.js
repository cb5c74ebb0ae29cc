// Filters the examples by class of mistake and by what they hold; the address keeps both: #kind=missed&q=cancer
(() => {
  const form = document.getElementById("filter");
  const articles = [...document.querySelectorAll("article")];
  const kinds = articles.map(article => JSON.parse(article.dataset.kinds));
  const texts = articles.map(article => article.textContent.toLowerCase());
  const isWanted = (own, kind) =>
    !kind || (kind === "mistakes" ? own.length > 0 : kind === "right" ? own.length === 0 : own.includes(kind));

  function apply() {
    const kind = form.kind ? form.kind.value : "";
    const wanted = form.q.value.trim().toLowerCase();
    let shown = 0;
    articles.forEach((article, i) => {
      article.hidden = !(isWanted(kinds[i], kind) && texts[i].includes(wanted));
      shown += !article.hidden;
    });
    form.querySelector("output").textContent = `${shown} shown`;
  }

  function fromAddress() {
    const address = location.hash.slice(1);
    if (!/^(kind|q)=/.test(address)) return;
    const given = new URLSearchParams(address);
    if (form.kind) form.kind.value = given.get("kind") || "";
    if (form.kind && form.kind.selectedIndex < 0) form.kind.value = "";
    form.q.value = given.get("q") || "";
    apply();
    document.getElementById("examples").scrollIntoView();
  }

  function fromForm() {
    const chosen = new URLSearchParams();
    if (form.kind && form.kind.value) chosen.set("kind", form.kind.value);
    if (form.q.value) chosen.set("q", form.q.value);
    history.replaceState(null, "", chosen.size ? `#${chosen}` : "#examples");
    apply();
  }

  form.hidden = false;
  form.addEventListener("input", fromForm);
  form.addEventListener("submit", event => event.preventDefault());
  addEventListener("hashchange", fromAddress);
  apply();
  fromAddress();
})();
