// A table of a listing: the node sorts, filters and cuts it into pages, so that ten thousand rows cost as much as a hundred.

import { get } from "./api.js";
import { h, fill, number } from "./dom.js";

const PAGE_SIZE = 50;

export class Table {
  /** `columns`: {name, label, number, show(row)}; `name` is what the node sorts by. */
  constructor(source, columns, options = {}) {
    this.source = source;
    this.columns = columns;
    this.options = options;
    this.page = 1;
    this.sort = options.sort || columns[0].name;
    this.reverse = options.reverse || false;
    this.filter = "";
    this.count = h("span", { class: "soft" });
    this.previous = h("button", { type: "button", "aria-label": "previous page", onclick: () => this.go(this.page - 1) }, "‹");
    this.next = h("button", { type: "button", "aria-label": "next page", onclick: () => this.go(this.page + 1) }, "›");
    const search = h("input", { type: "search", placeholder: "Filter by name", "aria-label": "filter by name", oninput: () => {
      this.filter = search.value;
      this.go(1);
    } });
    this.head = h("tr", {});
    this.body = h("tbody", {});
    this.element = h("section", { class: "card" },
      h("div", { class: "bar" }, search, h("span", { class: "space" }), this.count, this.previous, this.next),
      h("div", { class: "wide" }, h("table", {}, h("thead", {}, this.head), this.body)));
    this.drawHead();
  }

  drawHead() {
    fill(this.head, this.columns.map((column) => {
      const mark = column.name === this.sort ? (this.reverse ? " ↓" : " ↑") : "";
      const label = column.name === undefined ? column.label : h("button", { type: "button", onclick: () => {
        this.reverse = column.name === this.sort ? !this.reverse : column.number === true;
        this.sort = column.name;
        this.drawHead();
        this.go(1);
      } }, `${column.label}${mark}`);
      const sorted = column.name === this.sort ? (this.reverse ? "descending" : "ascending") : null;
      return h("th", { class: column.number ? "number" : "", scope: "col", "aria-sort": sorted }, label);
    }));
  }

  async go(page) {
    this.page = page;
    await this.update();
  }

  async update() {
    const query = new URLSearchParams({ page: this.page, page_size: PAGE_SIZE, name: this.filter, sort: this.sort, sort_reverse: this.reverse });
    const asked = query.toString();
    this.asked = asked;
    const join = this.source.includes("?") ? "&" : "?";
    let answer;
    try {
      answer = await get(`${this.source}${join}${asked}`);
    } catch (error) {
      if (error.status === 400 && this.page > 1) return this.go(1);
      throw error;
    }
    if (this.asked !== asked) return;
    this.previous.disabled = answer.page <= 1;
    this.next.disabled = answer.page >= answer.page_count;
    const first = (answer.page - 1) * answer.page_size;
    fill(this.count, answer.filtered_count === 0 ? "none" : `${number(first + 1)}–${number(first + answer.item_count)} of ${number(answer.filtered_count)}`);
    // A row that is being used keeps its focus.
    const focused = this.body.contains(document.activeElement) ? document.activeElement.closest("tr")?.dataset.key : null;
    if (answer.items.length === 0) {
      fill(this.body, h("tr", {}, h("td", { colspan: this.columns.length, class: "empty" }, this.options.empty || "Nothing here.")));
      return;
    }
    fill(this.body, answer.items.map((row) => h("tr", { "data-key": row.name ?? "" }, this.columns.map((column) => h("td", { class: column.number ? "number" : "" }, column.show(row))))));
    if (focused !== null && focused !== undefined) this.body.querySelector(`tr[data-key="${CSS.escape(focused)}"] a, tr[data-key="${CSS.escape(focused)}"] button`)?.focus();
  }
}
