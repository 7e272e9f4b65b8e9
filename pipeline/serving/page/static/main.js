// Starts the page: the search of a dataset if the server has one, else a comparison of a picture with texts.
import { ApiFault, askJson, key } from "./api.js";
import { startCompare } from "./compare.js";
import { byId, data } from "./dom.js";
import { hideFault, showFault } from "./faults.js";
import { switchLanguage } from "./say.js";
import { startSearch } from "./search.js";

switchLanguage(byId("language"));
byId("forget-key").hidden = !key();
byId("forget-key").addEventListener("click", () => {
  key(null);
  location.reload();
});
start();

async function start() {
  try {
    hideFault();
    const { data: [model] } = await askJson("v1/models");
    byId("model").replaceChildren(data("span", "", model.id));
    if (model.hanclip.dataset) { await startSearch(); } else { startCompare(); }
  } catch (fault) {
    if (!(fault instanceof ApiFault)) { throw fault; }
    showFault(fault, start);
  }
}
