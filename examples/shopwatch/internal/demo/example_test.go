package demo_test

import (
	"context"
	"fmt"
	"net/http"
	"net/smtp"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/demo"
)

func ExampleStart() {
	world, err := demo.Start(context.Background(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer world.Close()

	res, err := http.Get(world.Shop.URL() + "robots.txt")
	if err != nil {
		fmt.Println(err)
		return
	}
	res.Body.Close()
	fmt.Println(res.Status)
	http.DefaultClient.CloseIdleConnections()
	// Output: 200 OK
}

func ExampleAt() {
	for _, elapsed := range []time.Duration{0, 12 * time.Second, 24 * time.Second} {
		fmt.Println(elapsed, len(demo.At(elapsed, 12*time.Second)), "products")
	}
	// Output:
	// 0s 48 products
	// 12s 48 products
	// 24s 47 products
}

func ExampleMailCatcher() {
	catcher, err := demo.StartMailCatcher(context.Background(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer catcher.Close()
	text := "Subject: Tea is cheaper\r\n\r\nNow at 5.90.\r\n"
	if err := smtp.SendMail(catcher.Addr(), nil, "shop@example.com", []string{"ops@example.com"}, []byte(text)); err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range catcher.Last() {
		fmt.Println(m.Recipients, m.Subject)
	}
	// Output: [ops@example.com] Tea is cheaper
}

func ExampleSlackReceiver() {
	receiver, err := demo.StartSlackReceiver(context.Background(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer receiver.Close()
	res, err := http.Post(receiver.URL(), "application/json", strings.NewReader(`{"text":"Tea is cheaper"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	res.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	for _, m := range receiver.Last() {
		fmt.Println(m.Channel, m.Title)
	}
	// Output: #alerts Tea is cheaper
}

func ExampleLogReceiver() {
	receiver, err := demo.StartLogReceiver(context.Background(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer receiver.Close()
	for range 2 { // the second time as a repeat
		res, err := http.Post(receiver.URL(), "application/x-ndjson", strings.NewReader(`{"event_id":"1","msg":"started"}`))
		if err != nil {
			fmt.Println(err)
			return
		}
		res.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	stats := receiver.Stats()
	fmt.Println(stats.Events, "event,", stats.Repeats, "repeat")
	// Output: 1 event, 1 repeat
}
