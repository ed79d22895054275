package extract

import (
	"bytes"
	"strconv"
	"strings"

	"golang.org/x/net/html"
)

// posAttr carries an element's place in the source through the parser, which
// keeps none.
const posAttr = "data-svc-source-pos"

// annotate returns src with the line and column of each start tag written into
// the tag. The tree that html.Parse builds from it is otherwise the same.
func annotate(src []byte) []byte {
	z := html.NewTokenizer(bytes.NewReader(src))
	out := make([]byte, 0, len(src)+len(src)/4)

	line, lineStart, offset := 1, 0, 0
	for {
		kind := z.Next()
		raw := z.Raw()

		if kind == html.StartTagToken || kind == html.SelfClosingTagToken {
			name := 1
			for name < len(raw) && !bytes.ContainsRune([]byte(" \t\r\n\f/>"), rune(raw[name])) {
				name++
			}
			out = append(out, raw[:name]...)
			out = append(out, " "+posAttr+`="`+strconv.Itoa(line)+":"+strconv.Itoa(offset-lineStart+1)+`"`...)
			out = append(out, raw[name:]...)
		} else {
			out = append(out, raw...)
		}

		for i, c := range raw {
			if c == '\n' {
				line++
				lineStart = offset + i + 1
			}
		}

		offset += len(raw)
		if kind == html.ErrorToken {
			return out
		}
	}
}

// position returns what annotate wrote into an element; zero where the parser
// made the element up.
func position(n *html.Node) (line, column int) {
	for _, a := range n.Attr {
		if a.Key == posAttr {
			l, c, _ := strings.Cut(a.Val, ":")
			line, _ = strconv.Atoi(l)
			column, _ = strconv.Atoi(c)
			return line, column
		}
	}
	return 0, 0
}
