"use strict";
const articles = [...document.querySelectorAll("article")];
const criteria = [...document.querySelectorAll("article:first-of-type fieldset")].map((one) => one.dataset.criterion);
const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function row(article) {
  const ratings = criteria.map((name) => article.querySelector(`[data-criterion="${name}"] input:checked`)?.value ?? "");
  return [article.dataset.id, ...ratings, article.querySelector(".comment input").value];
}

function table() {
  const rows = [["ID", ...criteria, "comment"], ...articles.map(row)];
  return rows.map((cells) => cells.map(quoted).join(",") + "\n").join("");
}

function tellProgress() {
  const rated = articles.filter((article) => row(article).slice(1, -1).every(Boolean)).length;
  document.getElementById("done").textContent = `${rated} of ${articles.length} images rated by all criteria`;
}

document.addEventListener("change", tellProgress);
document.getElementById("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
  link.download = "ratings.csv";
  link.click();
  URL.revokeObjectURL(link.href);
});
tellProgress();
