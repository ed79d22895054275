package notify

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/svcblocks/svcblocks/internal/redact"
)

// dryRun prints what would go out.
type dryRun struct {
	red *redact.Redactor
	mu  sync.Mutex
	out io.Writer
}

func (d *dryRun) print(r Receiver, m Message) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "--- to %s, id %s, level %v\n", r.Name, m.ID, m.Level)

	if p, ok := r.Notifier.(Previewer); ok {
		content, err := p.Preview(m)
		if err != nil {
			return err
		}
		b.Write(content)
	} else {
		fmt.Fprintf(&b, "%s\n\n%s", m.Title(), m.Body())
	}

	if !bytes.HasSuffix(b.Bytes(), []byte("\n")) {
		b.WriteByte('\n')
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := io.WriteString(d.out, d.red.String(b.String()))
	return err
}
