package text_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/scrape/text"
)

func answer(contentType, body string) *http.Response {
	return &http.Response{Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader(body))}
}

func TestString(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ contentType, body, want string }{
		"UTF-8":                         {"text/html; charset=utf-8", "Tee für 5 €", "Tee für 5 €"},
		"windows-1251 by header":        {"text/html; charset=windows-1251", "\xcf\xf0\xe8\xe2\xe5\xf2", "Привет"},
		"gbk by meta":                   {"text/html", "<meta charset=gbk>\xc4\xe3\xba\xc3", "<meta charset=gbk>你好"},
		"shift_jis by meta http-equiv":  {"text/html", "<meta http-equiv=Content-Type content=\"text/html; charset=shift_jis\">\x83\x60\x83\x83", "<meta http-equiv=Content-Type content=\"text/html; charset=shift_jis\">チャ"},
		"UTF-16 by byte order mark":     {"text/html", "\xff\xfeT\x00e\x00e\x00", "Tee"},
		"big-endian UTF-16":             {"text/html; charset=utf-8", "\xfe\xff\x00T\x00e\x00e", "Tee"},
		"latin1":                        {"text/html; charset=iso-8859-1", "f\xfcr 5 \x80", "für 5 €"},
		"no word, latin1":               {"text/html", "<p>f\xfcr", "<p>für"},
		"no word, UTF-8":                {"text/html", "<p>für", "<p>für"},
		"a header that names nothing":   {"text/html; charset=klingon", "<meta charset=windows-1251>\xcf\xf0\xe8", "<meta charset=windows-1251>При"},
		"the header wins over the meta": {"text/html; charset=windows-1251", "<meta charset=utf-8>\xcf\xf0\xe8", "<meta charset=utf-8>При"},
		"UTF-8 with a mark":             {"text/html", "\ufeffTee", "Tee"},
		"nothing":                       {"text/html", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := text.String(answer(tc.contentType, tc.body))
			if err != nil || got != tc.want {
				t.Errorf("%q, %v, want %q", got, err, tc.want)
			}
		})
	}
}

func TestBodyFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	res := answer("text/html", "")
	res.Body = io.NopCloser(io.MultiReader(strings.NewReader(strings.Repeat("x", 2000)), failing{broken}))
	if _, err := text.String(res); !errors.Is(err, broken) {
		t.Errorf("String = %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func ExampleReader() {
	res := answer("text/html; charset=windows-1251", "\xcf\xf0\xe8\xe2\xe5\xf2")
	page, err := text.Reader(res)
	if err != nil {
		fmt.Println(err)
		return
	}
	all, _ := io.ReadAll(page)
	fmt.Println(string(all))
	// Output: Привет
}
