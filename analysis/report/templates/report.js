const dialog = document.getElementById("zoom");
const enlarge = plot => {
  dialog.lastElementChild.replaceChildren(plot.querySelector("svg").cloneNode(true));
  dialog.showModal();
};
document.querySelectorAll(".plot").forEach(plot => {
  plot.addEventListener("click", () => enlarge(plot));
  plot.addEventListener("keydown", event => { if (event.key === "Enter") enlarge(plot); });
});
dialog.addEventListener("click", event => {
  if (event.target === dialog || event.target.tagName === "BUTTON") dialog.close();
});
// What is wider than the screen fades at its right edge until it is scrolled to the end.
document.querySelectorAll(".plot, .table").forEach(box => {
  const look = () => box.classList.toggle("more", box.scrollWidth - box.clientWidth - box.scrollLeft > 4);
  box.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(look).observe(box);
});
document.querySelector("nav details").open = matchMedia("(min-width: 82rem)").matches;
const unfold = () => {
  const there = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let box = there; box; box = box.parentElement) if (box.tagName === "DETAILS") box.open = true;
  if (there) there.scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();
