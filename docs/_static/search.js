// Results for search.html?q=…: Pagefind's index, which also knows Chinese; opened as a file, Sphinx's own.
(async () => {
  const query = new URLSearchParams(location.search).get("q") ?? "";
  const box = document.querySelector("#search-results");
  const root = document.documentElement.dataset.content_root ?? "./";
  document.querySelectorAll("form.bd-search input[name=q]").forEach((input) => (input.value = query));

  function element(tag, content, parent) {
    const made = document.createElement(tag);
    if (content) made.textContent = content;
    return parent.appendChild(made);
  }

  function link(url, text, parent) {
    element("a", text, parent).href = url;
  }

  async function show(pagefind) {
    const { results } = await pagefind.search(query);
    element("p", `${results.length} ${results.length === 1 ? box.dataset.one : box.dataset.many} “${query}”`, box).id = "search-count";
    const list = element("ol", "", box);
    for (const result of results.slice(0, 30)) {
      const page = await result.data();
      const item = element("li", "", list);
      link(page.url, page.meta.title, item);
      element("p", "", item).innerHTML = page.excerpt; // Pagefind escapes the text and adds <mark>
      const parts = element("ul", "", item);
      for (const part of page.sub_results.slice(0, 4)) if (part.url !== page.url) link(part.url, part.title, element("li", "", parts));
    }
  }

  async function builtIn() {
    for (const name of ["_static/language_data.js", "_static/searchtools.js", "searchindex.js"])
      await new Promise((loaded) => {
        const script = element("script", "", document.body);
        script.onload = loaded;
        script.src = root + name;
      });
  }

  if (location.protocol === "file:") await builtIn();
  else if (query) await show(await import(new URL(box.dataset.pagefind, location.href)));
})();
