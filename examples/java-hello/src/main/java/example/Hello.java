package example;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.Map;

/** Says hello, with AWS's own client for Java. */
public class Hello implements RequestHandler<Map<String, String>, Map<String, String>> {
    @Override
    public Map<String, String> handleRequest(Map<String, String> event, Context context) {
        String name = event.getOrDefault("name", "");
        if (name.isEmpty()) {
            throw new IllegalArgumentException("the event has no name; send {\"name\": \"Ada\"}");
        }
        return Map.of("greeting", "Hello, " + name, "request", context.getAwsRequestId());
    }
}
