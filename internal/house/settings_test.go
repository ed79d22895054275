package house_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/config/azurekeyvault"
	"github.com/svcblocks/svcblocks/config/vault"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink/datadog"
	"github.com/svcblocks/svcblocks/logging/sink/elastic"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
	"github.com/svcblocks/svcblocks/logging/sink/loggly"
	"github.com/svcblocks/svcblocks/logging/sink/loki"
	"github.com/svcblocks/svcblocks/logging/sink/otlp"
	"github.com/svcblocks/svcblocks/logging/sink/splunk"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/slack"
	"github.com/svcblocks/svcblocks/notify/webhook"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/diskcache"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

const settingsHead = `# All settings

What can be in a file, for each struct of options; a service gives each a section of its own, as ` + "`log`" + ` or ` + "`mail`" + `.
This page is written from the structs by ` + "`go test ./internal/house -run TestSettingsPage -update`" + `. What no file can hold,
as a Sink or a function, is set in code and is not here.
`

// TestSettingsPage holds docs/settings.md to the options that can be loaded. A
// key without words is a fault of the field.
func TestSettingsPage(t *testing.T) {
	t.Parallel()
	var page strings.Builder
	page.WriteString(settingsHead)
	section(t, &page, "logging.Options", logging.Options{})
	section(t, &page, "httpjson.Options, a sink", httpjson.Options{})
	section(t, &page, "loggly.Options, a sink", loggly.Options{})
	section(t, &page, "elastic.Options, a sink", elastic.Options{})
	section(t, &page, "loki.Options, a sink", loki.Options{})
	section(t, &page, "splunk.Options, a sink", splunk.Options{})
	section(t, &page, "datadog.Options, a sink", datadog.Options{})
	section(t, &page, "otlp.Options, a sink", otlp.Options{})
	section(t, &page, "notify.Options", notify.Options{})
	section(t, &page, "email.Options, a receiver", email.Options{})
	section(t, &page, "slack.Options, a receiver", slack.Options{})
	section(t, &page, "webhook.Options, a receiver", webhook.Options{})
	section(t, &page, "scrape.Options", scrape.Options{})
	section(t, &page, "scrape.CrawlOptions", scrape.CrawlOptions{})
	section(t, &page, "diskcache.Options", diskcache.Options{})
	section(t, &page, "tor.Options", tor.Options{})
	section(t, &page, "vault.Options, for references", vault.Options{})
	section(t, &page, "azurekeyvault.Options, for references", azurekeyvault.Options{})

	dir, err := root()
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join(dir, "docs", "settings.md")
	if *update {
		write(t, golden, page.String())
	}
	have, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), page.String()); diff != "" {
		t.Errorf("docs/settings.md is not what the options are; -update writes it (-have +want):\n%s", diff)
	}
}

func section[T any](t *testing.T, page *strings.Builder, title string, defaults T) {
	t.Helper()
	text, err := config.Doc(defaults)
	if err != nil {
		t.Errorf("%s: %v", title, err)
	}
	for line := range strings.Lines(text) {
		if strings.HasSuffix(strings.TrimSpace(line), "|  |") {
			t.Errorf("%s: a key without words: %s", title, line)
		}
	}
	fmt.Fprintf(page, "\n## %s\n\n%s", title, text)
}
