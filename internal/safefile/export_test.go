package safefile

import (
	"io/fs"
	"os"
)

// OpenRacing opens path, or name below d, while somebody else acts between the
// look at the name and the open.
func OpenRacing(d *Dir, name string, flag int, act func()) (*os.File, error) {
	p, t := Policy{}.withDefaults(), fileAt(name)
	if d != nil {
		p, t = d.policy, d.at(name)
	}
	lstat := t.lstat
	first := true
	t.lstat = func() (fs.FileInfo, error) {
		info, err := lstat()
		if first {
			first = false
			act()
		}
		return info, err
	}
	return p.open(t, flag, 0)
}
