package useragent_test

import (
	"testing"

	"github.com/svcblocks/svcblocks/scrape/useragent"
)

func TestBuiltin(t *testing.T) {
	t.Parallel()
	pool := useragent.Builtin()
	t.Log(pool.Len(), pool.Source(), pool.Date())
	for _, s := range pool.Agents() {
		_, ok := useragent.Parse(s)
		if !ok {
			t.Errorf("Parse(%q) knows no browser", s)
		}
	}
}
