//go:build unix

package diskcache_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/scrape/diskcache"
)

// A folder that everybody may write could answer in place of any site.
func TestFolderOfOthers(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "open")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	if _, err := diskcache.Open(t.Context(), dir, nil); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "diskcache.Options.Shared") {
		t.Errorf("Open = %v, want it refused with the name of the option", err)
	}
	if _, err := diskcache.Open(t.Context(), dir, &diskcache.Options{Shared: true}); err != nil {
		t.Errorf("Open with Shared = %v", err)
	}

	// A folder of the cache's own below it is fine.
	if _, err := diskcache.Open(t.Context(), filepath.Join(dir, "own"), nil); err != nil {
		t.Errorf("Open below it = %v", err)
	}
}
