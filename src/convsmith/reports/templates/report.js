"use strict";
// The gallery: filter by class, sort by confidence or loss, show one page of images at first. Without this script,
// all images are shown in the original order.
(() => {
  const list = document.querySelector("#gallery");
  if (list) {
    const tiles = [...list.children];
    const read = (id) => document.querySelector(id).value;
    const shown = document.querySelector("#shown");
    const all = document.querySelector("#all");
    const first = 48;
    let limit = first;
    const orders = {
      "rank-up": (a, b) => a.dataset.rank - b.dataset.rank,
      "confidence-down": (a, b) => b.dataset.confidence - a.dataset.confidence,
      "confidence-up": (a, b) => a.dataset.confidence - b.dataset.confidence,
      "loss-down": (a, b) => b.dataset.loss - a.dataset.loss,
      "loss-up": (a, b) => a.dataset.loss - b.dataset.loss,
    };
    const update = () => {
      const [truth, guess] = [read("#true"), read("#predicted")];
      let count = 0;
      list.append(...tiles.sort(orders[read("#order")]));
      for (const tile of tiles) {
        const fits = (!truth || tile.dataset.true === truth) && (!guess || tile.dataset.predicted === guess);
        count += fits;
        tile.hidden = !fits || count > limit;
      }
      shown.textContent = count > limit ? `${limit} of ${count}` : count;
      all.hidden = count <= limit;
      all.textContent = `Show all ${count}`;
    };
    const choose = () => { limit = first; update(); };
    for (const id of ["#true", "#predicted", "#order"]) document.querySelector(id).addEventListener("change", choose);
    all.addEventListener("click", () => { limit = tiles.length; update(); });
    update();
  }
  // Print collapsed sections, too.
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));
})();
