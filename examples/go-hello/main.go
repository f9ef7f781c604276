// Says hello, with AWS's own library for Go.
package main

import (
	"context"
	"fmt"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct {
	Name string `json:"name"`
}

type greeting struct {
	Greeting string `json:"greeting"`
	Request  string `json:"request"`
}

func hello(ctx context.Context, event event) (greeting, error) {
	if event.Name == "" {
		return greeting{}, fmt.Errorf("the event has no name; send {\"name\": \"Ada\"}")
	}
	about, _ := lambdacontext.FromContext(ctx)
	return greeting{Greeting: "Hello, " + event.Name, Request: about.AwsRequestID}, nil
}

func main() {
	lambda.Start(hello)
}
