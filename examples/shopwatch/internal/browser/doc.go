// Package browser drives a real Chromium for tests of pages, through the
// DevTools protocol: open a page at a size and colour scheme, ask what it
// complained about, take a picture.
//
//	b := browser.Start(t)                       // skips t where there is no chromium
//	tab := b.Open(t, server.URL, browser.Phone.Dark())
//	if got := tab.Problems(); len(got) > 0 { … }
//
// It is for tests only.
package browser
