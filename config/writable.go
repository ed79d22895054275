package config

import (
	"fmt"

	"github.com/svcblocks/svcblocks/internal/safefile"
)

// RefuseWritable makes it a mistake that everybody may write a file of settings,
// a secret, a file that a reference names, or the folder of one: who changes them
// chooses what the program does. Without it, that is told as a warning. The write
// bit of a group is left alone, as a umask of 002 sets it.
func RefuseWritable() Option { return func(o *options) { o.refuseWritable = true } }

// checkWritable tells which inputs everybody may write, each file and folder
// once.
func checkWritable(r *reading) {
	told := map[string]bool{}
	for _, in := range r.inputs {
		findings, err := safefile.Writable(in.path)
		if err != nil {
			continue // it is missing, or cannot be read, which is told elsewhere
		}

		for _, f := range findings {
			if f.Who != safefile.Everybody || f.Above || told[f.Path] {
				continue
			}
			told[f.Path] = true

			p := Problem{
				Kind: KindInsecure, Layer: "file " + f.Path,
				Message: fmt.Sprintf("everybody may write it (%s)", f.Mode), Hint: "chmod o-w " + f.Path,
			}

			if r.opt.refuseWritable {
				r.fail(p)
				continue
			}
			r.warnings = append(r.warnings, p)
		}
	}
}
