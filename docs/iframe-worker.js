// Browsers refuse the worker of a page that was opened from a disk, and the search of this site is a worker. There, a
// hidden frame runs the worker's script instead. Messages are copied and arrive later, as those of a worker do.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(address) {
      const frame = document.createElement("iframe");
      const script = `<script src="${new URL(address, location)}"><\/script>`;
      frame.hidden = true;
      frame.srcdoc = `<script>window.postMessage = (data) => frameElement.answer(data)<\/script>${script}`;
      frame.answer = (data) => this.deliver(() => this.onmessage?.({ data: structuredClone(data) }));
      this.frame = frame;
      this.loaded = new Promise((resolve) => frame.addEventListener("load", resolve, { once: true }));
      document.documentElement.append(frame);
    }

    deliver(send) {
      setTimeout(() => this.frame.isConnected && send());
    }

    postMessage(data) {
      const copy = structuredClone(data);
      this.loaded.then(() => this.deliver(() => this.frame.contentWindow.onmessage({ data: copy })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
