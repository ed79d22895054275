package doc

// jsonEditor changes a JSON or JSONC document, whose nodes' own ranges say where
// all lies.
type jsonEditor struct {
	*editor
	format Format
}

func (e *jsonEditor) read() (*Node, []Mistake) { return Parse(e.format, e.data, nil) }

func (e *jsonEditor) wanted(_, want *Node) *Node { return want }

func (e *jsonEditor) whole(old, want *Node) error {
	if old != nil && old.Kind != Null {
		return e.change(old, want, nil)
	}
	text, err := JSONText(want)
	if err != nil {
		return err
	}
	if old == nil {
		e.patch(len(e.data), len(e.data), text+e.eol)
		return nil
	}
	e.patch(old.Start, old.End, text)
	return nil
}

func (e *jsonEditor) collection(_, _ *Node, _ []string) (done bool, err error) { return false, nil }

func (e *jsonEditor) rebuild(old *Node, x elements, order []int, fresh *Node, path []string, mark int) error {
	return e.rebuildBrackets(old, x, order, fresh, path, mark)
}

func (e *jsonEditor) replace(old, want *Node, path []string) error {
	return e.replaceText(old, want, path)
}

func (e *jsonEditor) text(n, _ *Node, _ bool) (string, error) { return JSONText(n) }

func (e *jsonEditor) name(text string) string { return QuoteJSON(text) + ": " }

func (e *jsonEditor) comment() string { return "//" }

func (e *jsonEditor) shared([]Change) error { return nil }
