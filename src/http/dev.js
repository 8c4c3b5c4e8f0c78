(function () {
	var page = document.currentScript.getAttribute("data-page"), source = null;
	function open() {
		// Hidden tabs do without: a browser has only so many connections to one server.
		if (source || document.hidden) return;
		source = new EventSource("/.rr/reload");
		source.onmessage = function (event) {
			if (event.data !== page) {
				close();
				location.reload();
			}
		};
	}
	function close() {
		if (source) source.close();
		source = null;
	}
	document.addEventListener("visibilitychange", function () { document.hidden ? close() : open(); });
	addEventListener("pagehide", close);
	addEventListener("pageshow", open);
	open();
})();
