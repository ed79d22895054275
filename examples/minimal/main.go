// Command minimal has all four blocks at work: settings say what to fetch, the
// page is fetched, the log keeps it, and somebody is told.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/scrape"
)

type settings struct {
	URL string `doc:"the page to fetch; empty: one of its own, on loopback"`
	Log logging.Options
}

type screen struct{} // a receiver of messages, as email.Client and slack.Webhook are

func (screen) Send(_ context.Context, subject, text string) error {
	_, err := fmt.Println("message:", subject+":", text)
	return err
}

func main() {
	ctx := context.Background()
	store := must(config.Load(ctx, settings{}, config.File("minimal.yaml", config.Optional()), config.Env("MINIMAL")))
	logs := must(logging.New(&store.Get().Log))
	defer logs.Close()
	hub := must(notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: screen{}}}}))
	defer hub.Close()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} // not public, so it is allowed by name
	client := must(scrape.New(ctx, &scrape.Options{Egress: scrape.Direct(), Allow: loopback, Logger: logs.Logger("scrape")}))
	defer client.Close()

	own := must(net.Listen("tcp", "127.0.0.1:0"))
	go http.Serve(own, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	res := must(client.Get(ctx, cmp.Or(store.Get().URL, "http://"+own.Addr().String()+"/")))
	page := must(io.ReadAll(res.Body))
	res.Body.Close()
	logs.Logger("main").Info("page fetched", "status", res.StatusCode, "bytes", len(page))
	if err := hub.Notify(ctx, notify.Message{Subject: "page fetched", Text: fmt.Sprintf("%s, %d bytes", res.Status, len(page))}); err != nil {
		log.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err) // the errors of the blocks say what is wrong and what to do
	}
	return v
}
