//! The look of the page. Tables wider than the window scroll by themselves; the page does not.

/// The style sheet.
pub const STYLE: &str = "
:root { color-scheme: light dark; --page: #fff; }
body { margin: 0; font: 16px/1.5 'Liberation Sans', Arial, Helvetica, sans-serif; color: #282828; background: var(--page); }
main { max-width: 84rem; margin: 0 auto; padding: 1rem 1rem 4rem; }
h1 { font-size: 1.7rem; margin: 1rem 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; overflow-wrap: anywhere; }
h4 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p, li { max-width: 46rem; overflow-wrap: anywhere; }
p { white-space: pre-line; }
/* A shadow at an edge behind which there is more. */
.wide { overflow-x: auto; background: linear-gradient(90deg, var(--page) 1rem, transparent) 0/2rem 100%,
  linear-gradient(270deg, var(--page) 1rem, transparent) 100%/2rem 100%,
  radial-gradient(farthest-side at 0 50%, #0004, transparent) 0/.7rem 100%,
  radial-gradient(farthest-side at 100% 50%, #0004, transparent) 100%/.7rem 100%;
  background-repeat: no-repeat; background-attachment: local, local, scroll, scroll; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
thead th { border-top: 2px solid; border-bottom: 1px solid; vertical-align: bottom; }
tbody tr:last-child td { border-bottom: 2px solid; }
th, td { padding: .25rem .7rem .25rem 0; text-align: left; white-space: nowrap; }
.number { text-align: right; padding-left: .7rem; padding-right: 0; }
.number + :not(.number) { padding-left: 1.4rem; }
.claims td:last-child { white-space: normal; min-width: 16rem; }
.facts th { font-weight: normal; color: #666; vertical-align: top; }
.facts td, .run td { white-space: normal; overflow-wrap: anywhere; border: 0; }
.facts tbody tr:last-child td, .run tbody tr:last-child td { border-bottom: 0; }
figure { margin: 1.5rem 0; }
figure svg { max-width: 100%; min-width: 36rem; height: auto; background: #fff; }
figcaption { color: #666; font-size: .875rem; }
details { border-top: 1px solid #ddd; padding: .3rem 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
code { font: .9em 'Liberation Mono', Consolas, monospace; }
.failed { color: #a02000; }
@media (prefers-color-scheme: dark) {
  :root { --page: #181818; }
  body { color: #ddd; }
  .facts th, figcaption { color: #aaa; }
  details { border-color: #444; }
  .failed { color: #ff8060; }
}
@media print {
  details { display: none; }
  main { max-width: none; }
  .wide { overflow: visible; background: none; }
  table { font-size: .7rem; }
  th, td { white-space: normal; overflow-wrap: anywhere; }
  figure { break-inside: avoid; }
  figure svg { min-width: 0; }
}
";
