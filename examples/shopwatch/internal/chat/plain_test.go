package chat_test

import (
	"net/http"
	"testing"
)

// A name from a shop formats nothing: for each platform that knows formats it
// is escaped.
func TestNothingFormats(t *testing.T) {
	t.Parallel()
	rs, ps := receivers(t, http.StatusOK, nil, accepted)
	for text, want := range map[string]string{
		"# HEADLINE": `\# HEADLINE`, "a\n## b": "a\n\\## b", "> quote": `\> quote`, "- list": `\- list`, "+ list": `\+ list`,
		"  1. list": `  1\. list`, "22) list": `22\) list`, "a\n===": "a\n\\===", "_x_ __y__": `\_x\_ \_\_y\_\_`,
		"*x* ~~y~~ `z` ||s||": "\\*x\\* \\~\\~y\\~\\~ \\`z\\` \\|\\|s\\|\\|", "<https://evil.example> <t:0:R>": `\<https://evil.example> \<t:0:R>`,
		"[tea](https://evil.example)": `\[tea\](https://evil.example)`, `\# x`: `\\# x`, "4.20 - 10% > 3 # 1": "4.20 - 10% > 3 # 1",
	} {
		for name, head := range map[string]string{"discord": "**s**\n", "teams": "s\n"} {
			before := len(ps[name].texts)
			if err := rs[name].Send(t.Context(), "s", text); err != nil {
				t.Fatal(err)
			}
			if got := ps[name].texts[before]; got != head+want && got != head+want+"\n" {
				t.Errorf("%s: %q is sent as %q, want %q", name, text, got, head+want)
			}
		}
	}
}
