"use strict";
// Draws the report from the JSON in the page. Whatever comes from outside becomes text, never markup.
(() => {
  const COLORS = JSON.parse(document.getElementById("colors").textContent);
  const KINDS = { evidence: "Evidence", attention: "Attention", grad_cam: "Grad-CAM" };
  const OWN_SCORES = { certainty: "the model's certainty", confidence: "the caption's confidence" };
  const SCORES = { ...OWN_SCORES, bleu_1: "BLEU-1", rouge_l: "ROUGE-L", meteor: "METEOR" };
  const CANVAS_SIDE = 256; // pixels of the longer side; the browser stretches the smooth map further
  const byId = (id) => document.getElementById(id);
  const SMALL_SIDE = 128; // of the maps of findings, which stand in a row
  // The first kind of map that an image has, until somebody chooses; `least`: what is hidden, in shares of a map's peak.
  const view = { kind: "", strength: 0.75, least: 0, boxes: true, current: null };

  function element(tag, properties = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in node) node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  // Maps

  // Cubic interpolation (a = -0.75) between the regions' centers, at multiples of the encoder's stride: as in grid.py.
  function cubicTaps(from, to) {
    const a = -0.75;
    const near = (x) => ((a + 2) * x - (a + 3)) * x * x + 1;
    const far = (x) => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
    return Array.from({ length: to }, (_, i) => {
      const x = Math.min(from - 1, ((i + 0.5) * from) / to);
      const left = Math.floor(x);
      const t = x - left;
      const weights = [far(1 + t), near(t), near(1 - t), far(2 - t)];
      return weights.map((weight, k) => [Math.min(from - 1, Math.max(0, left - 1 + k)), weight]);
    });
  }

  function upsample(grid, height, width) {
    const across = cubicTaps(grid[0].length, width);
    const rows = grid.map((row) => across.map((taps) => taps.reduce((sum, [at, weight]) => sum + row[at] * weight, 0)));
    const out = new Float32Array(height * width);
    cubicTaps(grid.length, height).forEach((taps, y) => {
      for (let x = 0; x < width; x++) {
        let sum = 0;
        for (const [at, weight] of taps) sum += rows[at][x] * weight;
        out[y * width + x] = Math.max(0, sum);
      }
    });
    return out;
  }

  function paint(canvas, grid, top) {
    const context = canvas.getContext("2d");
    const picture = context.createImageData(canvas.width, canvas.height);
    const values = upsample(grid, canvas.height, canvas.width);
    const least = view.least * values.reduce((a, b) => Math.max(a, b), 0);
    values.forEach((value, i) => {
      if (value < least) return;
      const level = Math.min(1, value / top);
      picture.data.set(COLORS[Math.round(level * 255)], 4 * i);
      picture.data[4 * i + 3] = 255 * view.strength * (0.2 + 0.8 * level);
    });
    context.putImageData(picture, 0, 0);
  }

  const percent = (share) => `${Math.round(100 * share)}%`;
  // Where a word's colors end: at its map's peak, in shares of an even spread; a map that is nearly flat stays faint.
  const LEAST_PEAK = +document.getElementById("colors").dataset.leastPeak;
  const topOf = (map) => Math.max(LEAST_PEAK, ...map.flat());

  function canvasOf(image, side) {
    const scale = side / Math.max(image.width, image.height);
    const canvas = element("canvas", {
      width: Math.max(1, Math.round(image.width * scale)), height: Math.max(1, Math.round(image.height * scale)),
    });
    canvas.setAttribute("aria-hidden", "true");
    return canvas;
  }

  // Outlines of regions over an image, in place of those that were there.
  function outline(layer, regions) {
    layer.replaceChildren(...(view.boxes ? regions : []).map(({ box: [left, top, right, bottom] }) => {
      const node = element("i");
      const share = (value) => `${(100 * value).toFixed(2)}%`;
      Object.assign(node.style, { left: share(left), top: share(top), width: share(right - left), height: share(bottom - top) });
      return node;
    }));
  }

  // One image

  class Card {
    constructor(entry, index) {
      Object.assign(this, { entry, index, built: false, word: null, chip: null, twin: null });
      this.node = element("article", { tabIndex: -1, className: entry.error ? "failed" : "" });
      this.node.append(
        element("h2", { className: "title" }, entry.name, element("span", {}, `${index + 1}`), this.certainty()),
      );
      this.text = [entry.path, entry.caption, entry.error, entry.reference?.caption, ...(entry.notes || [])]
        .concat((entry.concepts || []).flatMap((concept) => [concept.code, concept.name]))
        .join(" ").toLowerCase();
      this.node.addEventListener("focusin", () => setCurrent(this));
      if (entry.error) this.node.append(element("p", { className: "note" }, entry.error));
    }

    certainty() {
      const { certainty, confidence, novelty } = this.entry;
      const known = [["certainty", certainty, 2], ["confidence", confidence, 2], ["novelty", novelty, 0]]
        .filter(([, value]) => typeof value === "number")
        .map(([name, value, digits]) => `${name} ${value.toFixed(digits)}`);
      return known.length ? element("span", {}, known.join(", ")) : null;
    }

    score(name) {
      const value = name in OWN_SCORES ? this.entry[name] : this.entry.reference?.scores[name];
      return typeof value === "number" ? value : -1;
    }

    build() {
      if (this.built || this.entry.error) return;
      this.built = true;
      this.node.append(this.buildLeft(), this.buildRight());
      if (this.entry.layers.length) this.node.append(this.buildLayers());
      this.refresh();
    }

    buildLeft() {
      const { image, name, caption, words } = this.entry;
      const frame = element("div", { className: "frame" });
      // No taller than the screen, whatever the image's proportions.
      frame.style.aspectRatio = `${image.width} / ${image.height}`;
      frame.style.width = `min(100%, ${((60 * image.width) / image.height).toFixed(3)}vh)`;
      this.canvas = canvasOf(image, CANVAS_SIDE);
      this.boxes = element("div", { className: "boxes" });
      frame.append(element("img", { src: image.src, alt: `${name}: ${caption || "no caption"}` }), this.canvas, this.boxes);
      const left = element("div", { className: "where" }, frame);
      if (words.length) left.append(this.buildScale(), this.buildControls());
      this.said = element("p", { className: "said", ariaLive: "polite" });
      left.append(this.said, ...this.buildFindings());
      return left;
    }

    // A map for each word that names a finding, side by side: one map for all would hide which is where.
    buildFindings() {
      const { image, name, words } = this.entry;
      this.findings = words.flatMap((word, i) => (word.finding ? [{ word: word.word, i }] : [])).map(({ word, i }) => {
        const canvas = canvasOf(image, SMALL_SIDE);
        const boxes = element("div", { className: "boxes" });
        const frame = element("div", { className: "frame" }, element("img", { src: image.src, alt: `${name}: ${word}` }), canvas, boxes);
        frame.style.aspectRatio = `${image.width} / ${image.height}`;
        const place = element("small");
        const node = element("button", { type: "button", className: "finding", onclick: () => this.point(i) }, frame, element("b", {}, word), place);
        return { node, canvas, boxes, place, i };
      });
      if (!this.findings.length) return [];
      return [element("h3", {}, "A map for each finding"), element("div", { className: "findings" }, ...this.findings.map(({ node }) => node))];
    }

    buildScale() {
      this.top = element("span");
      const bar = element("div", { className: "bar" });
      const stops = COLORS.filter((_, i) => i % 15 === 0).map((color) => `rgb(${color.join(" ")})`);
      bar.style.background = `linear-gradient(90deg, ${stops.join(", ")})`;
      const unit = element("span", { className: "unit" }, "shares of an even spread over the regions");
      return element("div", { className: "scale" }, element("span", {}, "0"), bar, this.top, unit);
    }

    buildControls() {
      this.kinds = Object.keys(this.entry.maps).map((kind) =>
        element("button", { type: "button", onclick: () => change({ kind }) }, KINDS[kind]));
      this.strength = element("input", {
        type: "range", min: "0", max: "1", step: "0.05", oninput: (event) => change({ strength: +event.target.value }),
      });
      this.least = element("input", {
        type: "range", min: "0", max: "0.95", step: "0.05", className: "least", oninput: (event) => change({ least: +event.target.value }),
      });
      this.leastShown = element("output");
      this.boxed = element("input", { type: "checkbox", className: "boxed", onchange: (event) => change({ boxes: event.target.checked }) });
      const group = element("div", { className: "switch", role: "group", ariaLabel: "Map" }, ...this.kinds);
      return element("div", { className: "show" }, this.kinds.length > 1 ? group : null, element("label", {}, "Strength", this.strength),
        element("label", { title: "what is below this share of the map's peak" }, "Hide below", this.least, this.leastShown),
        element("label", {}, this.boxed, "Boxes"));
    }

    buildRight() {
      const { words, notes, doubts, similar, concepts, reference } = this.entry;
      const right = element("div", { className: "why" });
      for (const note of notes) right.append(element("p", { className: "note" }, note));
      for (const { claim, rule, reason } of doubts || []) {
        right.append(element("p", { className: "doubt" }, `Doubtful ${rule}: “${claim}”: ${reason}.`));
      }
      this.words = words.map((word, i) => this.buildWord(word, "button", i));
      if (words.length) {
        right.append(
          element("h3", {}, "The model generated"),
          element("div", { className: "words", role: "group", ariaLabel: "Words of the caption" }, ...this.words),
          element("p", { className: "hint" }, (words[0].importance === null ? "" : "The shade and the number are the word's share of what speaks for the concepts (of a deep "
            + "classifier: of its attention, which need not be what decided). Point at a concept below for what each word gave it. ")
            + (this.sources(words[0]) && "The three numbers are percent of the word's probability: from the image, from the words before it, from similar images. ")
            + (reference ? "Red and underlined: in the reference too." : "")),
        );
      }
      if (similar.length) right.append(...this.buildSimilar(similar));
      if (concepts.length) right.append(...this.buildConcepts(concepts));
      this.referenceWords = [];
      if (reference) right.append(...this.buildReference(reference));
      return right;
    }

    buildWord(word, tag, i) {
      const small = element("small");
      const node = element(tag, { className: word.shared ? "word shared" : "word" }, element("b", {}, word.word));
      if (word.stem && word.stem !== word.word.toLowerCase()) node.append(element("small", { title: "stem" }, word.stem));
      node.append(small);
      node.number = small;
      if (tag !== "button") return node;
      node.type = "button";
      node.tabIndex = i ? -1 : 0;
      const share = word.importance === null ? "" : `, attention ${word.importance.toFixed(2)}`;
      const sources = this.sources(word);
      if (sources) node.append(element("small", { className: "sources", title: `This word came: ${sources}` },
        [word.seen, 1 - word.seen - (word.copied || 0), word.copied || 0].map((part) => Math.round(100 * part)).join(" · ")));
      if (typeof word.copied === "number") {
        const mark = element("span", { className: "copied", title: `${percent(word.copied)} from similar training images` });
        mark.style.setProperty("--share", word.copied);
        node.append(mark);
      }
      const said = sources || (typeof word.copied === "number" ? `${percent(word.copied)} from similar images` : "");
      node.ariaLabel = `${word.word}, word ${i + 1}${share}${said && `, ${said}`}${word.shared ? ", also in the reference" : ""}`;
      node.addEventListener("pointerenter", () => this.point(i));
      node.addEventListener("focus", () => this.point(i));
      node.addEventListener("click", () => this.point(i));
      return node;
    }

    /** In words, what gave the word its probability; empty where that is not known. */
    sources(word) {
      if (typeof word.seen !== "number") return "";
      const copied = word.copied || 0, before = Math.max(0, 1 - word.seen - copied);
      return `${percent(word.seen)} from the image, ${percent(before)} from the words before it, ${percent(copied)} from similar images`;
    }

    buildSimilar(similar) {
      this.twins = similar.map((one) => (one.here ? this.buildTwin(one) : null));
      const rows = similar.map((one, k) => {
        const said = [element("b", {}, percent(one.weight)), ` ${one.caption} `, element("small", {}, one.id)];
        return element("li", {}, ...(this.twins[k] ? [this.twins[k].node] : []), element("span", {}, ...said));
      });
      const hint = element("p", { className: "hint" }, "The bar under a word is the share of it that the captions of similar training images gave, "
        + "not the decoder: for a word that was copied, its map says little. The percentage is each image's say. "
        + (this.twins.some(Boolean) ? "Point at one for the regions that make it more alike than most training images; point at a word for where in it the word was copied from." : ""));
      return [element("h3", {}, "Similar training images"), element("ul", { className: "similar" }, ...rows), hint];
    }

    // A similar image to point at: its picture, or a plain button where that is not at hand.
    buildTwin(one) {
      const node = element("button", { type: "button", className: "twin", ariaLabel: `What makes ${one.id} alike` });
      const twin = { one, node, canvas: null, given: element("small", { className: "given" }) };
      if (one.image) {
        twin.canvas = canvasOf(one.image, SMALL_SIDE);
        const frame = element("div", { className: "frame" }, element("img", { src: one.image.src, alt: one.caption }), twin.canvas);
        frame.style.aspectRatio = `${one.image.width} / ${one.image.height}`;
        node.append(frame);
      } else node.append("alike?");
      node.append(twin.given);
      for (const event of ["pointerenter", "focus"]) node.addEventListener(event, () => this.compare(twin));
      for (const event of ["pointerleave", "blur"]) node.addEventListener(event, () => this.compare(null));
      return twin;
    }

    buildConcepts(concepts) {
      this.chips = concepts.map((concept) => {
        const scores = [["", concept.score], ["words ", concept.word_score]].filter(([, score]) => typeof score === "number");
        const label = [concept.name || concept.code, scores.map(([of, score]) => of + score.toFixed(2)).join(" · ")].join("  ");
        if (!concept.contributions) {
          return element("span", { className: "chip", title: concept.code }, label);
        }
        const chip = element("button", { type: "button", className: "chip", title: concept.code }, label);
        chip.concept = concept;
        for (const event of ["pointerenter", "focus"]) chip.addEventListener(event, () => this.light(concept));
        for (const event of ["pointerleave", "blur"]) chip.addEventListener(event, () => this.light(null));
        return chip;
      });
      const hint = element("p", { className: "hint" }, "The first thing to trust: point at a concept for what each word gave it, in logits (gradient × embedding). "
        + "First its score, by which the model names it; then what the classifier reads in the caption's words alone.",
        element("i", { className: "for" }), "for", element("i", { className: "against" }), "against. Dashed: named from the image alone.");
      const any = concepts.some((concept) => concept.contributions);
      return [element("h3", {}, "Concepts"), element("div", { className: "chips" }, ...this.chips), any ? hint : ""];
    }

    buildReference(reference) {
      this.referenceWords = reference.words.map((word) => this.buildWord(word, "span"));
      const scores = Object.entries(reference.scores).map(([name, value]) =>
        element("span", {}, `${SCORES[name]} ${value.toFixed(2)}`));
      const notes = Object.entries(reference.notes || {}).map(([name, note]) =>
        element("p", { className: "note" }, `${SCORES[name]}: ${note}`));
      return [
        element("h3", {}, "Reference"),
        element("p", { className: "quote" }, reference.caption),
        element("div", { className: "words reference" }, ...this.referenceWords),
        element("p", { className: "scores" }, ...scores),
        ...notes,
      ];
    }

    buildLayers() {
      const details = element("details", {}, element("summary", {}, "What the layers saw"));
      // The pictures are made when somebody looks.
      details.addEventListener("toggle", () => {
        if (details.childElementCount === 1) for (const layer of this.entry.layers) details.append(...buildLayer(layer));
      });
      return details;
    }

    point(i) {
      this.word = i;
      setCurrent(this);
      this.words.forEach((node, k) => { node.tabIndex = k === i || (i === null && k === 0) ? 0 : -1; });
      this.refresh();
    }

    compare(twin) {
      this.twin = twin;
      this.refresh();
    }

    light(concept) {
      this.chip = concept;
      this.refresh();
    }

    refresh() {
      if (!this.built) return;
      if (this.words.length) this.refreshWords();
      else this.overlay([], "");
      for (const twin of (this.twins || []).filter(Boolean)) this.paintTwin(twin);
    }

    refreshWords() {
      const kind = view.kind in this.entry.maps ? view.kind : Object.keys(this.entry.maps)[0];
      const maps = this.entry.maps[kind];
      this.kinds.forEach((node) => { node.ariaPressed = String(node.textContent === KINDS[kind]); });
      this.strength.value = view.strength;
      this.least.value = view.least;
      this.leastShown.textContent = `${Math.round(100 * view.least)}%`;
      this.boxed.checked = view.boxes;
      this.top.textContent = this.word === null ? "" : topOf(maps[this.word]).toFixed(1);
      this.words.forEach((node, i) => { node.ariaPressed = String(i === this.word); });
      this.chips?.forEach((node) => { if (node.concept) node.ariaPressed = String(node.concept === this.chip); });
      shade(this.words, this.entry.words, this.chip?.contributions);
      const given = this.chip && this.entry.reference?.contributions[this.chip.code];
      shade(this.referenceWords, this.entry.reference?.words, given);
      this.overlay(maps, kind);
      for (const { node, canvas, boxes, place, i } of this.findings) {
        const regions = this.entry.regions[kind][i];
        node.ariaPressed = String(i === this.word);
        paint(canvas, maps[i], topOf(maps[i]));
        outline(boxes, regions);
        place.textContent = regions.map((region) => region.place).join("; ") || "nowhere in particular";
      }
    }

    // On a similar image: what makes it alike while it is pointed at, else where the word was copied from.
    paintTwin({ one, node, canvas, given }) {
      const pointed = this.twin?.one === one;
      const copied = this.word === null ? 0 : one.copied[this.word] ?? 0;
      const map = pointed ? one.there : this.word === null ? null : one.maps?.[this.word];
      node.ariaPressed = String(pointed);
      given.textContent = copied >= 0.005 ? `gave ${percent(copied)} of “${this.entry.words[this.word].word}”` : "";
      if (!canvas) return;
      if (map) paint(canvas, map, Math.max(1e-9, ...map.flat()));
      else canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    }

    overlay(maps, kind) {
      this.node.classList.toggle("lit", this.word !== null || this.twin !== null);
      if (this.twin) {
        const { id, here } = this.twin.one;
        this.said.textContent = `What makes this image and ${id} more alike than most.`;
        outline(this.boxes, []);
        paint(this.canvas, here, Math.max(1e-9, ...here.flat()));
        return;
      }
      if (this.word === null) {
        this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
        outline(this.boxes, []);
        this.said.textContent = this.words.length ? "Point at a word." : "";
        return;
      }
      const best = Math.max(...maps[this.word].flat());
      const regions = this.entry.regions[kind][this.word];
      const where = regions.map((region) => region.text).join(" · ") || "nowhere in particular";
      const found = best > 0 ? `${where}. Peak: ${best.toFixed(1)} times an even share` : "no region speaks for it";
      this.said.textContent = `“${this.entry.words[this.word].word}”, ${KINDS[kind]}: ${found}.`;
      outline(this.boxes, regions);
      paint(this.canvas, maps[this.word], topOf(maps[this.word]));
    }
  }

  function buildLayer(layer) {
    const [height, width, channels] = layer.size;
    const about = `${height} × ${width} × ${channels}; ${Math.round(100 * layer.active)} % of the channels active; `
      + `the ${layer.channels.length} strongest, from ${layer.range[0]} (dark) to ${layer.range[1]} (yellow)`;
    const pictures = layer.channels.map(({ channel, src }) => element("figure", {},
      element("img", { src, alt: `channel ${channel} of ${layer.name}` }), element("figcaption", {}, `${channel}`)));
    return [element("h3", {}, `${layer.name}: ${about}`), element("div", { className: "channels" }, ...pictures)];
  }

  // Words by importance, or by what they gave to a concept.
  function shade(nodes, words, given) {
    const heaviest = Math.max(1e-9, ...(words || []).map((word) => word.importance || 0));
    const strongest = Math.max(1e-9, ...(given || []).map(Math.abs));
    nodes.forEach((node, i) => {
      const { importance } = words[i];
      node.classList.toggle("for", Boolean(given) && given[i] >= 0);
      node.classList.toggle("against", Boolean(given) && given[i] < 0);
      node.style.setProperty("--weight", String((importance || 0) / heaviest));
      node.style.setProperty("--given", String(given ? Math.abs(given[i]) / strongest : 0));
      const signed = given && `${given[i] < 0 ? "−" : "+"}${Math.abs(given[i]).toFixed(2)}`;
      node.number.textContent = signed || (importance === null ? "" : importance.toFixed(2));
    });
  }

  // The page

  const cards = [...document.querySelectorAll("script.entry")].map((node, index) => {
    const entry = JSON.parse(node.textContent);
    node.remove();
    return new Card(entry, index);
  });

  const watcher = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      cards.find((card) => card.node === target).build();
    }
  }, { rootMargin: "800px" });

  function change(settings) {
    Object.assign(view, settings);
    for (const card of cards) card.refresh();
  }

  function nextKind() {
    const kinds = Object.keys((view.current ?? cards.find((card) => card.entry.maps))?.entry.maps ?? {});
    if (kinds.length) change({ kind: kinds[(Math.max(0, kinds.indexOf(view.kind)) + 1) % kinds.length] });
  }

  function setCurrent(card) {
    view.current?.node.classList.remove("current");
    view.current = card;
    card.node.classList.add("current");
  }

  const shown = () => [...byId("entries").children].filter((node) => !node.hidden)
    .map((node) => cards.find((card) => card.node === node));

  function find() {
    const wanted = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const score = byId("score").value;
    const least = +byId("least").value;
    byId("least-shown").textContent = least.toFixed(2);
    let count = 0;
    for (const card of cards) {
      const fits = wanted.every((word) => card.text.includes(word)) && (least === 0 || card.score(score) >= least);
      card.node.hidden = !fits;
      count += fits;
    }
    byId("count").textContent = count ? `${count} of ${cards.length} images` : "no image fits";
  }

  function sort() {
    const score = byId("score").value;
    const orders = {
      given: (a, b) => a.index - b.index,
      high: (a, b) => b.score(score) - a.score(score) || a.index - b.index,
      low: (a, b) => a.score(score) - b.score(score) || a.index - b.index,
      name: (a, b) => a.entry.name.localeCompare(b.entry.name, undefined, { numeric: true }) || a.index - b.index,
    };
    byId("entries").append(...[...cards].sort(orders[byId("sort").value]).map((card) => card.node));
  }

  function moveToImage(step) {
    const list = shown();
    const at = list.indexOf(view.current);
    const card = list[at < 0 ? 0 : Math.min(list.length - 1, Math.max(0, at + step))];
    if (!card) return;
    card.build();
    const target = card.words?.length ? card.words[card.word ?? 0] : card.node;
    target.focus({ preventScroll: true });
    card.node.scrollIntoView({ block: "start" });
  }

  function moveToWord(step) {
    const card = view.current ?? shown()[0];
    card?.build();
    if (!card?.words?.length) return;
    const next = card.word === null ? 0 : Math.min(card.words.length - 1, Math.max(0, card.word + step));
    card.words[next].focus();
  }

  const KEYS = {
    ArrowLeft: () => moveToWord(-1), ArrowRight: () => moveToWord(1), j: () => moveToImage(1), k: () => moveToImage(-1),
    ArrowDown: () => moveToImage(1), ArrowUp: () => moveToImage(-1),
    g: () => nextKind(),
    Escape: () => view.current?.words?.length && view.current.point(null),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select")) return;
    // Up and down scroll the page as ever until an image has the focus.
    if (event.key.startsWith("Arrow") && event.key !== "ArrowRight" && !event.target.closest("article")) return;
    if (!Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    KEYS[event.key]();
  });

  const known = Object.keys(SCORES).filter((name) => cards.some((card) => card.score(name) >= 0));
  byId("score").append(...known.map((name) => element("option", { value: name }, SCORES[name])));
  const { first } = byId("score").dataset;
  if (known.includes(first)) byId("score").value = first;
  byId("search").addEventListener("input", find);
  byId("least").addEventListener("input", find);
  byId("score").addEventListener("change", () => { find(); sort(); });
  byId("sort").addEventListener("change", sort);
  document.querySelector(".find").addEventListener("submit", (event) => event.preventDefault());
  sort();
  find();
  for (const card of cards) watcher.observe(card.node);

  // A page that shows this one in a frame cannot look into it, only be told how tall it is.
  if (parent !== window) {
    new ResizeObserver(() => parent.postMessage({ height: document.body.scrollHeight }, "*")).observe(document.body);
  }
})();
