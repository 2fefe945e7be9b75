// A line at the foot of the page that says, while a chapter starts, what is going on.
const line = document.createElement("div");
line.id = "progress";
line.setAttribute("role", "status");
line.style.cssText = `position: fixed; bottom: 0; left: 0; right: 0; z-index: 2000; padding: 10px 16px;
  background: #222222; color: white; font: 16px sans-serif; text-align: center`;
document.body.append(line);

const started = Date.now();
const timer = setInterval(() => {
  const seconds = Math.round((Date.now() - started) / 1000);
  const panel = window.jupyterapp?.shell?.currentWidget;
  const status = panel?.sessionContext?.kernelDisplayStatus;
  if (!panel?.content?.widgets?.length) {
    line.textContent = `Opening the chapter … ${seconds} s`;
  } else if (panel.content.widgets.some(cell => cell.model.executionCount)) {
    clearInterval(timer);
    line.remove();
  } else if (status === "idle") {
    line.textContent = "Python is ready. Run the first cell: click it, then ▶ at the top (or Shift+Enter).";
  } else if (status === "dead" || status === "autorestarting") {
    line.textContent = "Python could not be started. Reload the page; if that doesn't help, take a newer browser.";
  } else {
    const words = status === "busy" ? "Fetching what the chapter needs" : "Fetching Python into your browser";
    line.textContent = `${words} … ${seconds} s. You can read on meanwhile.`;
  }
}, 500);
