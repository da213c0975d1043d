import org.apache.solr.embedded.JettyConfig;
import org.apache.solr.embedded.JettySolrRunner;

/** Serves the Solr home HOME at 127.0.0.1:PORT/solr until it is terminated. */
public final class Launch {
    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[1]);
        JettyConfig config = JettyConfig.builder().setPort(port).setContext("/solr").build();
        new JettySolrRunner(args[0], config).start();
        Thread.currentThread().join();
    }
}
